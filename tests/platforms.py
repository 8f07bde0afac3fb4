"""See that requirements.lock installs from wheels alone on every platform of the course.

    python tests/platforms.py

uv resolves the lock for each platform and Python as if it ran there, markers included. (pip reads
markers for the machine it runs on, whatever platform it is told.) Nothing is installed. The oldest
systems are asked for: later ones take their wheels too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from packaging.requirements import Requirement
from uv import find_uv_bin

LOCK = Path(__file__).parents[1] / "requirements.lock"
MACOS = "13.0"  # confluent-kafka has no wheel for an older one
PLATFORMS = {
    "Linux on x86-64": "x86_64-manylinux_2_28",
    "Linux on aarch64": "aarch64-manylinux_2_28",
    "macOS on Apple silicon": "aarch64-apple-darwin",
    "macOS on Intel": "x86_64-apple-darwin",
    "Windows on x86-64": "x86_64-pc-windows-msvc",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
AT_ONCE = 4
UV = find_uv_bin()  # once: several threads at a time find it half looked up
NO_WHEEL = re.compile(r"Because ([\w.-]+)(?:\{.*?\})?==(\S+) has no ")


def resolve(lines: list[str], platform: str, python: str) -> tuple[list[str], str]:
    """Resolve the requirements from wheels; return the packages found, or uv's complaint."""
    command = [UV, "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--only-binary=:all:", "--no-python-downloads"]
    done = subprocess.run(
        [*command, f"--python-platform={platform}", f"--python-version={python}", "-"],
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": MACOS},
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines(), done.stderr if done.returncode else ""


def check(lines: list[str], platform: str, python: str) -> tuple[int, list[str]]:
    """Return how many packages are installed from wheels there, and those that have none."""
    missing: list[str] = []
    while True:
        found, complaint = resolve(lines, platform, python)
        if not complaint:
            return len(found), missing
        # uv stops at the first package; without it the next one shows.
        lacking = NO_WHEEL.search(complaint)
        if lacking is None:
            return 0, [*missing, complaint]
        name, version = lacking.groups()
        missing.append(f"{name}=={version}")
        lines = [line for line in lines if not is_pin(line, name, version)]


def is_pin(line: str, name: str, version: str) -> bool:
    """Say whether this line of the lock pins the package to the version."""
    pin = Requirement(line)
    return (pin.name, str(pin.specifier)) == (name, f"=={version}")


def main() -> int:
    """Print a line for each platform and Python; return 1 if a wheel is missing."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    targets = list(product(PLATFORMS, PYTHONS))
    failed = False
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = pool.map(lambda target: check(lines, PLATFORMS[target[0]], target[1]), targets)
        for (name, python), (count, missing) in zip(targets, results, strict=True):
            verdict = f"NO WHEEL  {', '.join(missing)}" if missing else f"{count} wheels"
            print(f"{name:24} Python {python:6} {verdict}", flush=True)
            failed = failed or bool(missing)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
