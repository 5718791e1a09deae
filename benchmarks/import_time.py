"""Time that `import tf_mtl` adds to `import tensorflow, keras`, in fresh processes in turn.

    python benchmarks/import_time.py

The difference is the median over pairs of processes. Above 0.3 s the exit status is 1.
"""

import statistics
import subprocess
import sys
import time

PAIRS = 7
MOST_SECONDS = 0.3
STATEMENTS = ("import tensorflow, keras", "import tensorflow, keras, tf_mtl")


def seconds(statement: str) -> float:
    """Return the time of a process that runs one statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Print the medians and the difference, and return the exit status."""
    seconds(STATEMENTS[1])  # fills the file cache
    pairs = [[seconds(statement) for statement in STATEMENTS] for _ in range(PAIRS)]
    for statement, times in zip(STATEMENTS, zip(*pairs, strict=True), strict=True):
        print(f"{statement}: {statistics.median(times):.2f} s")
    difference = statistics.median(toolkit - plain for plain, toolkit in pairs)
    print(f"difference: {difference:.2f} s, at most {MOST_SECONDS} s")
    return int(difference > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
