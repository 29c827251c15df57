"""python -m fuload_exec cc … | config …: for those who write C tasks."""

from __future__ import annotations

import shutil
import subprocess
import sys

from ._toolchain import compile_command, configuration, fail

_USAGE = """\
usage: python -m fuload_exec cc SOURCE... -o PLUGIN.so [compiler flags...]
       python -m fuload_exec config --cflags | --includes | --libs

cc      compiles a plug-in written with fuload.h, with $CC or $CXX
config  prints what a compiler needs: for plug-ins --cflags, for worker
        programs --cflags and --libs
"""


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if not arguments or arguments[0] == "help" or not {"-h", "--help"}.isdisjoint(arguments[:2]):
        print(_USAGE, end="")
        return 0 if arguments else 2
    command, *rest = arguments
    if command == "cc":
        return _compile(rest)
    if command == "config":
        return _config(rest)
    return fail(f"unknown command {command!r}: choose 'cc' or 'config'")


def _compile(arguments: list[str]) -> int:
    if not any(a.startswith("-o") for a in arguments):
        return fail("cc needs -o PLUGIN.so")
    command = compile_command(arguments)
    if shutil.which(command[0]) is None:
        return fail(f"there is no compiler {command[0]!r}: on Debian, 'apt-get install gcc libc6-dev' (or g++) brings one")
    return subprocess.run(command).returncode


def _config(arguments: list[str]) -> int:
    known = {"--cflags", "--includes", "--libs"}
    if not arguments or not known.issuperset(arguments):
        return fail(f"config takes --cflags, --includes or --libs, got {' '.join(arguments) or 'nothing'}")
    print(" ".join(configuration(a.removeprefix("--")) for a in arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
