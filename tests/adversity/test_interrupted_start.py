"""Ctrl-C while a pool starts or ends, at each place where the interpreter looks
for signals in these modules: after calls, at the begin of functions, in loops."""

import pytest

EACH_PLACE = """
import dis
from fuload_exec import _supervisor, _crew

FILES = {{_supervisor.__file__, _crew.__file__, signal.__file__}}
places = {{}}

def looks(code):
    if code not in places:
        found, before = set(), "RESUME"
        for instruction in dis.get_instructions(code):
            if before.startswith(("CALL", "RESUME", "JUMP")):
                found.add(instruction.offset)
            before = instruction.opname
        places[code] = found
    return places[code]

class Tracer:
    def __init__(self, place):
        self.left, self.where = place, None

    def __call__(self, frame, event, arg):
        if frame.f_code.co_filename in FILES:
            frame.f_trace_opcodes = True
            return self.inside

    def inside(self, frame, event, arg):
        if event == "opcode" and self.where is None and frame.f_lasti in looks(frame.f_code):
            self.left -= 1
            if not self.left:
                self.where = f"{{frame.f_code.co_name}}, line {{frame.f_lineno}}"
                sys.settrace(None)
                raise KeyboardInterrupt
        return self.inside

def attempt(wrong, name, act):
    def run():
        try:
            act()
        except RuntimeError as error:
            if "after shutdown" not in str(error):
                wrong.append(f"{{name}}: {{error!r}}")
        except BaseException as error:
            wrong.append(f"{{name}}: {{error!r}}")
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    if thread.is_alive():
        wrong.append(f"{{name}} hangs")

def use(executor):
    assert executor.submit(libc.abs, -3).result() == 3

def use_another():
    with FuloadExecutor(1) as another:
        use(another)

def interrupted(place):
    wrong, tracer = [], Tracer(place)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    executor = FuloadExecutor(1)
    sys.settrace(tracer)
    try:
        {act}
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    if tracer.where is None:
        return None
    if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != mask:
        wrong.append("the main thread's mask is another")
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    attempt(wrong, "submit()", lambda: use(executor))
    attempt(wrong, "another pool", use_another)
    attempt(wrong, "shutdown()", executor.shutdown)
    if not wrong:
        until(lambda: len(os.listdir("/proc/self/task")) == 1)
    return [f"{{tracer.where}}: {{text}}" for text in wrong]

place, wrong, over = 0, [], False
while not over:
    place += 1
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.write(writer, json.dumps(interrupted(place)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read()
    if os.waitpid(child, 0)[1] or not said:
        wrong.append(f"place {{place}}: the child ended without a word")
        over = len(wrong) > 5
        continue
    said = json.loads(said)
    over = said is None or len(wrong) > 5
    wrong += said or []
report(places=place, wrong=wrong)
"""


@pytest.mark.parametrize(
    "act", ["executor.submit(libc.abs, -1)", "executor.shutdown()", "executor.submit(libc.abs, -1), executor.shutdown()"]
)
def test_at_each_place(program, act):
    """The pool and others can be used and shut down, no thread stays, and the main
    thread still hears signals."""
    p = program(EACH_PLACE.format(act=act))
    assert p.expect("places", 120) > 5
    assert p.expect("wrong", 5) == []
    assert p.exit() == 0, p.errors()
