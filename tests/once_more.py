"""Run the tests of a part, and those that fail once more, alone.

Many tests hold what is told within some seconds, and four at a time have two cores; a browser is
late by itself. One that fails there and passes alone fell to the moment: it is named at the end, to
be mended. One that fails alone too is a failure, and so are more than a few at once.

    python tests/once_more.py unit [--all]
    python tests/once_more.py engines
    python tests/once_more.py browser

Of the wrong answers to the exercises one in three is tried, another one with each commit; all of
them with `--all`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = {
    "unit": ("--ignore=tests/browser", "--ignore=tests/engines"),
    "engines": ("tests/engines",),
    "browser": ("tests/browser",),
}
BESIDE = ("-n", "4", "--dist", "worksteal")  # a browser takes both cores: its tests run one by one
MOST = 5  # failures that the moment may explain
FAILED = 1  # pytest's exit code for tests that ran and failed


def main(part: str) -> int:
    """Run all, then what failed; return pytest's exit code."""
    cache = f".pytest_cache/{part}"  # its own: a test of the browser that failed is not asked here
    command = (sys.executable, "-m", "pytest", "-q", "-p", "tests.no_grammars")
    tests = (*PARTS[part], "-o", f"cache_dir={cache}")

    def pytest(*options: str) -> int:
        return subprocess.run([*command, *tests, *options], cwd=ROOT, check=False).returncode

    code = pytest("--cache-clear", *(() if part == "browser" else BESIDE))
    if code != FAILED:
        return code
    failed = sorted(json.loads((ROOT / cache / "v/cache/lastfailed").read_text()))
    if len(failed) > MOST:
        print(f"{len(failed)} tests failed: too many to blame the moment.")
        return code
    print(f"Once more, alone: {', '.join(failed)}", flush=True)
    code = pytest("--last-failed")
    if not code:
        print(f"Failed at first and passed alone, to be mended: {', '.join(failed)}")
    return code


if __name__ == "__main__":
    if "--all" not in sys.argv:
        os.environ["WRONG_ANSWERS_ONE_IN"] = "3"
    sys.exit(main(sys.argv[1]))
