"""A plug-in in C++: standard library, exceptions that become NativeTaskError.

python examples/cpp_plugin/anagrams.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from fuload_exec import FuloadExecutor, NativeTask, NativeTaskError

SOURCE = Path(__file__).with_suffix(".cpp")
TEXTS = [b"listen silent enlist banana", b"dusty study night thing", b"one two three"]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder) / "anagrams.so"
        # The suffix says that it is C++: $CXX compiles it.
        subprocess.check_call([sys.executable, "-m", "fuload_exec", "cc", SOURCE, "-o", plugin, "-std=c++17"])
        anagrams = NativeTask(plugin, "anagrams")
        with FuloadExecutor() as executor:
            for text, future in [(text, executor.submit(anagrams, text)) for text in TEXTS]:
                try:
                    print(f"{text.decode()}: {future.result().decode().split(chr(10))[:-1]}")
                except NativeTaskError as error:
                    print(f"{text.decode()}: {error.message} (status {error.status})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
