"""SQL queries by worker programs that hold their connection open.

python examples/sqlite_worker/sqlite_worker.py
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from fuload_exec import FuloadExecutor, NativeTask, NativeTaskError

SOURCE = Path(__file__).with_suffix(".c")
QUERY = NativeTask(None, "query")  # None: the pool's worker program has it


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "numbers.db"
        fill(database)
        program = compile_program(Path(folder))
        with FuloadExecutor(2, worker=[str(program), str(database)]) as executor:
            return ask(executor)


def fill(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("create table numbers (n integer primary key, square integer)")
    connection.executemany("insert into numbers values (?, ?)", [(n, n * n) for n in range(10_000)])
    connection.commit()
    connection.close()


def compile_program(folder: Path) -> Path:
    config = [sys.executable, "-m", "fuload_exec", "config", "--cflags", "--libs"]
    flags = shlex.split(subprocess.check_output(config, text=True))
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not shutil.which(compiler[0]):
        raise SystemExit("A C compiler is missing: 'apt-get install gcc libc6-dev' brings one.")
    probe = subprocess.run([*compiler, "-E", "-x", "c", "-"], input=b"#include <sqlite3.h>\n", capture_output=True)
    if probe.returncode != 0:
        raise SystemExit("SQLite's header is missing: 'apt-get install libsqlite3-dev' brings it.")
    program = folder / "sqlite_worker"
    subprocess.check_call([*compiler, SOURCE, "-o", program, *flags, "-lsqlite3"])
    return program


def ask(executor: FuloadExecutor) -> int:
    questions = [f"select sum(square) from numbers where n % 100 = {i}" for i in range(100)]
    sums = [int(reply) for reply in executor.map(QUERY, [question.encode() for question in questions])]
    print(f"{len(questions)} queries by {len(executor.worker_pids)} workers, each with a connection of its own")
    print(f"the sum of all squares is {sum(sums)}")
    rows = executor.submit(QUERY, b"select n, square from numbers where n between 7 and 9").result()
    print(*(line.split("\t") for line in rows.decode().splitlines()))
    try:
        executor.submit(QUERY, b"select nothing from nowhere").result()
    except NativeTaskError as error:
        print(f"SQLite's error {error.status}: {error.message}")
    return 0 if sum(sums) == sum(n * n for n in range(10_000)) else 1


if __name__ == "__main__":
    sys.exit(main())
