"""Pi by random points, with the generator kept in each C worker's globals.

python examples/monte_carlo/monte_carlo.py [MILLIONS OF POINTS]
"""

from __future__ import annotations

import math
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from fuload_exec import FuloadExecutor, NativeTask

SOURCE = Path(__file__).with_suffix(".c")
POINTS = 1_000_000  # a task


def main(tasks: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder) / "monte_carlo.so"
        subprocess.check_call([sys.executable, "-m", "fuload_exec", "cc", SOURCE, "-o", plugin, "-O3"])
        inside, workers = throw(NativeTask(plugin, "throw_points"), tasks)
    points = tasks * POINTS
    estimate = 4 * inside / points
    error = 4 * math.sqrt(math.pi / 4 * (1 - math.pi / 4) / points)  # one standard deviation
    print(f"{points:,} points: pi is about {estimate:.6f}, {abs(estimate - math.pi) / error:.1f} standard errors off")
    for pid, share in workers.items():
        print(f"  worker {pid} threw {share:,} of them, from one generator")
    return 0 if abs(estimate - math.pi) < 6 * error and sum(workers.values()) == points else 1


def throw(task: NativeTask, tasks: int) -> tuple[int, dict[int | None, int]]:
    """Points inside the circle, and by worker the points that it says it threw."""
    inside, workers = 0, {}
    with FuloadExecutor() as executor:
        for future in [executor.submit(task, struct.pack("=Q", POINTS)) for _ in range(tasks)]:
            found, so_far, _ = struct.unpack("=3Q", future.result())
            inside += found
            workers[future.worker_pid] = max(so_far, workers.get(future.worker_pid, 0))
    return inside, workers


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
