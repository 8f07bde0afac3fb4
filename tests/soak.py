"""Run every notebook 20 times in a row, every second time with both cores busy.

A notebook that passes 19 times in 20 is broken. Prints a line for each run, with what it said if it
failed, and stops at nothing: the count at the end says how often which notebook failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 20
LAST = 5000  # characters of what a failed run said


def busy(stack: ExitStack) -> None:
    """Keep every core busy until the stack is closed."""
    for _ in range(os.cpu_count() or 1):
        process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        stack.callback(process.wait)
        stack.callback(process.kill)


def main() -> int:
    """Run, count, and return 1 if anything failed."""
    failures: Counter[str] = Counter()
    for number in range(1, RUNS + 1):
        with ExitStack() as stack:
            if number % 2 == 0:
                busy(stack)
            start = time.monotonic()
            done = subprocess.run(
                ["make", "--no-print-directory", "notebooks"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
        failed = re.findall(r"^FAILED (\S+::Cell \d+)", done.stdout, re.MULTILINE)
        failures.update(failed)
        if done.returncode and not failed:
            failures["make notebooks"] += 1
        how = "busy" if number % 2 == 0 else "idle"
        verdict = ", ".join(failed) or ("passed" if not done.returncode else "FAILED")
        print(f"run {number:2} {how} {time.monotonic() - start:4.0f} s  {verdict}", flush=True)
        if done.returncode:
            print(done.stdout[-LAST:], flush=True)
    print(f"{RUNS} runs, {failures.total()} failures", dict(failures))
    return int(failures.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
