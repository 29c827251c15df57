"""What the tests of plug-ins and worker programs share."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE = 30


def cc(*arguments, env=None) -> subprocess.CompletedProcess[str]:
    """python -m fuload_exec cc, as a user runs it."""
    return command("cc", *arguments, env=env)


def command(*arguments, env=None, cwd=None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "fuload_exec", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env={**os.environ, **(env or {})})


def build_plugin(source: Path, output: Path, *flags: str) -> Path:
    done = cc(source, "-o", output, "-Wall", "-Wextra", "-Werror", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def build_program(source: Path, output: Path, *flags: str) -> Path:
    """A worker program, with the flags that `config` prints."""
    given = command("config", "--cflags", "--libs").stdout.split()
    done = subprocess.run(
        ["cc", "-Wall", "-Wextra", "-Werror", *flags, str(source), "-o", str(output), *given], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def numbers(*values: int) -> bytes:
    return b"".join(struct.pack("<q" if value < 0 else "<Q", value) for value in values)


def ints(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}i", data)
