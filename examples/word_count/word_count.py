"""The words of Python's own sources, counted by a plug-in written in C.

python examples/word_count/word_count.py [FILE...]
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from fuload_exec import FuloadExecutor, NativeTask

SOURCE = Path(__file__).with_suffix(".c")


def main(names: list[str]) -> int:
    files = [Path(name) for name in names] or sorted(Path(json.__file__).parent.parent.glob("*.py"))
    texts = [file.read_bytes() for file in files]
    with tempfile.TemporaryDirectory() as folder:
        word_count = NativeTask(compile_plugin(Path(folder)), "word_count")
        with FuloadExecutor() as executor:
            counts = [as_number(reply) for reply in executor.map(word_count, texts)]
    for file, count in sorted(zip(files, counts), key=lambda row: -row[1])[:5]:
        print(f"{count:>10,} words in {file.name}")
    print(f"{sum(counts):>10,} words in {len(files)} files")
    # bytes.split() knows the same white space as C does.
    right = counts == [len(text.split()) for text in texts]
    print("Python counts the same." if right else "Python counts DIFFERENTLY.")
    return 0 if right else 1


def compile_plugin(folder: Path) -> Path:
    plugin = folder / "word_count.so"
    subprocess.check_call([sys.executable, "-m", "fuload_exec", "cc", SOURCE, "-o", plugin, "-Wall"])
    return plugin


def as_number(reply: bytes) -> int:
    return struct.unpack("=Q", reply)[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
