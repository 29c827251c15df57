"""Every function of fuload.h, from the task's side and from the caller's."""

from __future__ import annotations

import array
import os

import numpy
import pytest
from support.ids import shown
from support.waiting import until
from toolbox import HERE, PATIENCE, build_plugin, ints, numbers

from fuload_exec import LibraryLoadError, NativeTask, NativeTaskError, PayloadTooLarge, WorkerCrashed

SIZES = [0, 1, 7, 8, 63, 64, 65, 255, 256, 257, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1]


@pytest.fixture
def run(pool, plugin):
    executor = pool(2, slots=8, slot_size=256)
    return lambda name, data=b"": executor.submit(plugin(name), data).result(timeout=PATIENCE)


# -- requests and replies ------------------------------------------------------------


@pytest.mark.parametrize("slot_size", [64, 4096, 1 << 17])
def test_requests_and_replies_of_every_size(pool, plugin, slot_size, dice):
    executor = pool(2, slots=8, slot_size=slot_size)
    texts = [dice.randbytes(size) for size in SIZES]
    for name, expected in [("echo", bytes), ("upper", bytes.upper)]:
        futures = [executor.submit(plugin(name), text) for text in texts]
        for future, text in zip(futures, texts):
            assert future.result(timeout=PATIENCE) == expected(text)


@pytest.mark.stress
def test_tens_of_megabytes(run):
    data = os.urandom(1 << 20) * 40
    assert run("echo", data) == data
    assert run("upper", b"a" * (40 << 20)) == b"A" * (40 << 20)


@pytest.mark.parametrize(
    "data",
    [
        bytearray(b"some text"),
        memoryview(b"in some text")[3:],
        array.array("d", [1.0, 2.0, 3.0]),
        numpy.arange(1000, dtype=numpy.int16),
        numpy.arange(12.0).reshape(3, 4),
        numpy.empty(0),
    ],
    ids=lambda d: type(d).__name__,
)
def test_any_buffer_is_a_request(run, data):
    reply = run("echo", data)
    assert type(reply) is bytes
    assert reply == memoryview(data).tobytes()


@pytest.mark.parametrize("args", [(), (b"a", b"b"), ("text",), (5,), (None,)], ids=shown)
def test_what_is_no_buffer_is_refused_at_once(pool, plugin, args):
    executor = pool(1)
    with pytest.raises(TypeError, match=r"echo\(\)"):
        executor.submit(plugin("echo"), *args)
    with pytest.raises(TypeError, match=r"echo\(\)"):
        executor.submit(plugin("echo"), data=b"a")
    assert executor.submit(plugin("echo"), b"a").result(timeout=PATIENCE) == b"a"


def test_a_buffer_with_gaps_is_refused_at_once(pool, plugin):
    executor = pool(1)
    with pytest.raises((BufferError, ValueError, TypeError), match="contiguous"):
        executor.submit(plugin("echo"), memoryview(b"abcdef")[::2])


def test_a_request_may_change_after_submit(pool, plugin):
    executor = pool(1)
    data = bytearray(b"before")
    future = executor.submit(plugin("echo"), data)
    data[:] = b"after!"
    assert future.result(timeout=PATIENCE) == b"before"


def test_nothing_written_is_an_empty_reply(run):
    assert run("nothing", b"request") == b""


@pytest.mark.parametrize(("count", "size"), [(0, 10), (1, 1), (300, 1), (3000, 7), (10, 100_000), (5, 0)])
def test_piece_by_piece(run, count, size):
    assert run("pieces", numbers(count, size)) == b"".join(bytes([i % 251]) * size for i in range(count))


@pytest.mark.parametrize(("step", "steps"), [(1, 600), (255, 3), (256, 2), (257, 2), (40_000, 30)])
def test_what_was_committed_is_kept_while_it_grows(run, step, steps):
    assert run("grow", numbers(step, steps)) == b"".join(bytes([i % 251]) * step for i in range(steps))


@pytest.mark.parametrize("size", [0, 1, 248, 249, 252, 253, 70_000, 3 << 20])
def test_writing_reserving_and_writing_again(run, size):
    assert run("head_and_body", numbers(size)) == b"head" + b"b" * size + b"tail"


@pytest.mark.parametrize(("reserved", "committed"), [(100, 0), (100, 99), (5000, 256), (5000, 257), (1 << 20, 3), (1 << 20, 0)])
def test_fewer_bytes_than_reserved(run, reserved, committed):
    assert run("shrink", numbers(reserved, committed)) == b"s" * committed


@pytest.mark.parametrize("size", [0, 10, 1000])
def test_reply_replaces_what_was_written(run, size):
    assert run("replaced", numbers(size)) == b"at once"


def test_reply_from_the_reply_itself(run):
    assert run("overlap") == b"23456"


def test_commit_without_room(run):
    assert ints(run("commit_unreserved")) == (-1, 0)


def test_slots_are_reused_for_replies_of_all_sizes(pool, plugin, dice):
    """Nothing of an earlier reply is left in a later one."""
    executor = pool(2, slots=2, slot_size=64)
    sizes = [dice.choice([0, 1, 63, 64, 65, 1000, 66_000]) for _ in range(400)]
    futures = [executor.submit(plugin("echo"), bytes([i % 256]) * size) for i, size in enumerate(sizes)]
    for i, (future, size) in enumerate(zip(futures, sizes)):
        assert future.result(timeout=PATIENCE) == bytes([i % 256]) * size


def test_map_over_buffers(pool, plugin):
    executor = pool(2)
    texts = [b"%d words" % i for i in range(200)]
    assert list(executor.map(plugin("upper"), texts, timeout=PATIENCE)) == [text.upper() for text in texts]


# -- limits ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["make", "give_up_politely"])
def test_replies_over_max_payload(pool, plugin, name):
    executor = pool(1, max_payload=100_000)
    for size in (100_001, 1 << 40, (1 << 64) - 1):
        with pytest.raises(PayloadTooLarge) as caught:
            executor.submit(plugin(name), numbers(size)).result(timeout=PATIENCE)
        assert str(size) in str(caught.value) and "100000" in str(caught.value)
    assert len(executor.submit(plugin("make"), numbers(100_000)).result(timeout=PATIENCE)) == 100_000


def test_pieces_over_max_payload(pool, plugin):
    executor = pool(1, max_payload=1000)
    with pytest.raises(PayloadTooLarge, match="1001.*1000"):
        executor.submit(plugin("pieces"), numbers(2000, 1)).result(timeout=PATIENCE)
    assert len(executor.submit(plugin("pieces"), numbers(1000, 1)).result(timeout=PATIENCE)) == 1000


def test_a_request_over_max_payload(pool, plugin):
    executor = pool(1, max_payload=1000)
    with pytest.raises(PayloadTooLarge, match="1001.*1000"):
        executor.submit(plugin("echo"), b"x" * 1001).result(timeout=PATIENCE)
    assert executor.submit(plugin("echo"), b"x" * 1000).result(timeout=PATIENCE) == b"x" * 1000


# -- failures ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [1, 42, -1, -(2**31), 2**31 - 1])
@pytest.mark.parametrize("message", ["", "as asked", "naïve €", "long " * 1000], ids=["none", "short", "unicode", "long"])
def test_status_and_message(run, status, message):
    with pytest.raises(NativeTaskError) as caught:
        run("fail", numbers(status) + message.encode())
    assert (caught.value.status, caught.value.message) == (status, message)
    assert str(status) in str(caught.value) and message in str(caught.value)


def test_a_status_of_0_is_a_failure_too(run):
    with pytest.raises(NativeTaskError) as caught:
        run("fail", numbers(0) + b"unlucky")
    assert (caught.value.status, caught.value.message) == (-1, "unlucky")


def test_a_message_that_is_no_text_is_shown_all_the_same(run):
    with pytest.raises(NativeTaskError, match="\N{REPLACEMENT CHARACTER}"):
        run("fail", numbers(1) + b"\xff\xfe")


def test_a_message_over_max_payload_is_cut(pool, plugin):
    executor = pool(1, max_payload=100)
    with pytest.raises(NativeTaskError) as caught:
        executor.submit(plugin("fail_and_return_0"), b"").result(timeout=PATIENCE)
    assert caught.value.message == "forgotten"
    small = pool(1, max_payload=4)
    with pytest.raises(NativeTaskError) as caught:
        small.submit(plugin("fail_and_return_0"), b"").result(timeout=PATIENCE)
    assert (caught.value.status, caught.value.message) == (6, "forg")


def test_a_null_message(run):
    with pytest.raises(NativeTaskError) as caught:
        run("fail_without_message")
    assert (caught.value.status, caught.value.message) == (4, "")


@pytest.mark.parametrize("status", [1, -7, 255])
def test_a_plain_status(run, status):
    with pytest.raises(NativeTaskError) as caught:
        run("plain_status", numbers(status))
    assert (caught.value.status, caught.value.message) == (status, "")


def test_who_called_fail_has_failed(run):
    with pytest.raises(NativeTaskError) as caught:
        run("fail_and_return_0")
    assert (caught.value.status, caught.value.message) == (6, "forgotten")


def test_a_failure_costs_no_worker(pool, plugin):
    executor = pool(1)
    _, pid = ints(executor.submit(plugin("count_inits"), b"").result(timeout=PATIENCE))
    for _ in range(20):
        with pytest.raises(NativeTaskError):
            executor.submit(plugin("plain_status"), numbers(1)).result(timeout=PATIENCE)
    assert executor.worker_pids == [pid]


def test_nobody_is_cancelled_who_runs(run):
    assert ints(run("is_cancelled")) == (0,)


# -- libraries -------------------------------------------------------------------------------


def test_a_library_that_is_not_there(pool, tmp_path):
    executor = pool(1)
    with pytest.raises(LibraryLoadError, match="none.so.*No such file"):
        executor.submit(NativeTask(tmp_path / "none.so", "task"), b"").result(timeout=PATIENCE)


def test_a_file_that_is_no_library(pool, tmp_path, plugin):
    (tmp_path / "text.so").write_text("not a library at all, but long enough to have a header")
    executor = pool(1)
    with pytest.raises(LibraryLoadError, match="text.so"):
        executor.submit(NativeTask(tmp_path / "text.so", "task"), b"").result(timeout=PATIENCE)
    assert executor.submit(plugin("echo"), b"on").result(timeout=PATIENCE) == b"on"


def test_a_task_that_is_not_in_it(pool, plugin):
    executor = pool(1)
    with pytest.raises(LibraryLoadError, match="no_such_task"):
        executor.submit(plugin("no_such_task"), b"").result(timeout=PATIENCE)
    assert executor.submit(plugin("echo"), b"on").result(timeout=PATIENCE) == b"on"


def test_a_plugin_of_another_version_is_refused(pool, built):
    path = build_plugin(HERE / "tasks.c", built / "version7.so", "-include", str(other_version(built, 7)))
    executor = pool(1)
    with pytest.raises(LibraryLoadError, match=r"version7.so .*version 7 .*version 1"):
        executor.submit(NativeTask(path, "echo"), b"").result(timeout=PATIENCE)
    with pytest.raises(LibraryLoadError, match=r"version7.so .*version 7 .*version 1"):
        NativeTask(path, "echo")(b"")
    assert executor.worker_pids, "the worker lives on"


def other_version(folder, version):
    """fuload.h as another release would have it."""
    from fuload_exec import get_include

    with open(os.path.join(get_include(), "fuload.h")) as header:
        text = header.read()
    path = folder / "another_fuload.h"
    path.write_text(text.replace("#define FULOAD_ABI_VERSION 1", f"#define FULOAD_ABI_VERSION {version}"))
    assert f"ABI_VERSION {version}" in path.read_text()
    return path


# -- init and fini -----------------------------------------------------------------------------


def test_init_and_fini_run_once_a_worker(pool, plugin, tmp_path):
    log = tmp_path / "log"
    executor = pool(2, env={"PLUGIN_LOG": str(log)}, spin=0)
    pids = set()
    until(lambda: pids.add(executor.submit(plugin("count_inits"), b"").result(timeout=PATIENCE)) or both(executor, plugin, pids))
    assert {ints(answer)[0] for answer in pids} == {1}
    assert "fini" not in log.read_text()
    executor.shutdown()
    expected = [f"{what} {ints(answer)[1]}" for answer in pids for what in ("init", "fini")]
    assert sorted(log.read_text().splitlines()) == sorted(expected)


def both(executor, plugin, pids):
    futures = [executor.submit(plugin("count_inits"), b"") for _ in range(100)]
    pids.update(future.result(timeout=PATIENCE) for future in futures)
    return len(pids) == 2


def test_a_worker_that_crashes_has_no_fini(pool, plugin, tmp_path):
    log = tmp_path / "log"
    executor = pool(1, env={"PLUGIN_LOG": str(log)})
    executor.submit(plugin("echo"), b"").result(timeout=PATIENCE)
    with pytest.raises(WorkerCrashed):
        executor.submit(plugin("crash"), b"").result(timeout=PATIENCE)
    executor.submit(plugin("echo"), b"").result(timeout=PATIENCE)
    executor.shutdown()
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["init", "init", "fini"]


def test_a_replaced_worker_has_its_fini(pool, plugin, tmp_path):
    """The interpreter takes a worker's place: the C program leaves in order."""
    log = tmp_path / "log"
    executor = pool(1, env={"PLUGIN_LOG": str(log)})
    executor.submit(plugin("echo"), b"").result(timeout=PATIENCE)
    assert executor.submit(pow, 2, 10).result(timeout=PATIENCE) == 1024
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["init", "fini"]
    assert executor.submit(plugin("upper"), b"in python").result(timeout=PATIENCE) == b"IN PYTHON"


def test_an_init_that_fails_refuses_the_library(pool, plugin, tmp_path):
    log = tmp_path / "log"
    executor = pool(1, env={"PLUGIN_LOG": str(log), "INIT_STATUS": "7"})
    for _ in range(3):
        with pytest.raises(LibraryLoadError, match=r"tasks.so.*fuload_init returned 7"):
            executor.submit(plugin("echo"), b"").result(timeout=PATIENCE)
    executor.shutdown()
    assert "fini" not in log.read_text()


def test_a_plugin_needs_neither(pool, tmp_path):
    source = tmp_path / "plain.c"
    source.write_text('#include <fuload.h>\nFULOAD_TASK(answer) { return fuload_reply(task, "42", 2); }\n')
    path = build_plugin(source, tmp_path / "plain.so")
    assert pool(1).submit(NativeTask(path, "answer"), b"").result(timeout=PATIENCE) == b"42"


def test_the_library_is_opened_while_the_worker_is_there(pool, tmp_path, plugin):
    """Deleted or replaced on disk, it serves on where it is open."""
    source = tmp_path / "plain.c"
    source.write_text('#include <fuload.h>\nFULOAD_TASK(answer) { return fuload_reply(task, "42", 2); }\n')
    path = build_plugin(source, tmp_path / "plain.so")
    executor = pool(1)
    assert executor.submit(NativeTask(path, "answer"), b"").result(timeout=PATIENCE) == b"42"
    path.unlink()
    assert executor.submit(NativeTask(path, "answer"), b"").result(timeout=PATIENCE) == b"42"
