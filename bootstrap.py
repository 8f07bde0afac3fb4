"""Make .venv, the folder with everything the course needs, or see that it is ready.

    python3 bootstrap.py          what a learner needs
    python3 bootstrap.py --dev    and the tools that check the course

Every version is pinned in requirements.lock. A run that was interrupted, a folder that was
moved and a Python that is gone are mended by running it again. VENV=path puts the folder
elsewhere. Only the standard library is used, in the syntax of Python 3.6: an older Python
reaches the sentence below.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NEEDED: "tuple[int, int]" = (3, 11)  # Python 3.11 or later is needed: python.org/downloads

if sys.version_info < NEEDED:
    sys.exit(
        f"Python 3.11 or later is needed; {sys.executable} is Python {platform.python_version()}.\n"
        "Get one from https://www.python.org/downloads/, with `brew install python@3.13` or with\n"
        "`sudo apt install python3.11 python3.11-venv`, then run `make lab PYTHON=python3.11`,\n"
        "or `python3.11 bootstrap.py`, with the name of the one you have."
    )

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
ROOM_MB = 1500  # .venv with the tools takes 1.0 GB, the downloads in the temporary folder the rest
VERSION = platform.python_version()
KNOWN = """\
Linux with glibc 2.28 or later, on x86-64 and aarch64; macOS 13 or later, on Apple silicon
and Intel; Windows on x86-64; with CPython 3.11 to 3.14 on each"""  # shown by `make platforms`

FAILURES = {
    r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|SSLError": (
        "The certificate of the package index is not trusted. A company proxy often is the cause:\n"
        "set PIP_CERT to its certificate file and run this again."
    ),
    r"Retrying \(|NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Could not fetch URL": (
        "The package index cannot be reached: no network, or a proxy is in the way.\n"
        "Set HTTPS_PROXY if you need one, or PIP_INDEX_URL if your company has a mirror,\n"
        "and run this again."
    ),
    r"No space left on device|Disk quota exceeded": (
        "The disk is full. Free about 1.5 GB, or point VENV at a folder with more room\n"
        "(and TMPDIR for the downloads), and run this again."
    ),
    r"Permission denied|Read-only file system|Not a directory|File exists": (
        "A folder cannot be written. Point VENV at one that can, or mend the permissions,\n"
        "and run this again."
    ),
    r"ensurepip is not available|No module named '?(venv|ensurepip)": (
        "This Python lacks its venv module. On Debian and Ubuntu:\n"
        f"    sudo apt install python{sys.version_info.major}.{sys.version_info.minor}-venv\n"
        "and run this again."
    ),
}


NO_WHEEL = (  # what pip says of a pin that it finds no wheel for, the plainest words first
    r"no matching distributions available for your environment:\s+([\w.-]+)",
    r"No matching distribution found for ([\w.-]+)",
    r"The user requested \(constraint\) ([\w.-]+)==",
)


class SetupError(Exception):
    """The folder cannot be made; the message says why and what to do."""


def explain(output: str) -> str:
    """Return the sentence for what a failed command printed, and the last of its own lines."""
    own = [line for line in output.splitlines() if re.match(r"(?i)error|warning: retrying", line)]
    tail = "\n".join(f"    {line[:300]}" for line in (own or output.splitlines())[-3:])
    for pattern, sentence in FAILURES.items():
        if re.search(pattern, output):
            return f"{sentence}\n{tail}"
    for pattern in NO_WHEEL:
        lacking = re.search(pattern, output)
        if lacking:
            return f"{unknown_platform(lacking[1])}\n{tail}"
    return f"Installing failed. The last lines were:\n{tail}"


def unknown_platform(package: str) -> str:
    """Return what to do where the index has no wheel of the package for this machine."""
    name = re.sub(r"[-_.]+", "-", package).lower()
    pins = re.findall(rf"(?m)^{re.escape(name)}==(\S+)", LOCK.read_text(encoding="utf-8"))
    machine = sysconfig.get_platform()
    if sys.platform == "linux":
        machine += " with " + (" ".join(platform.libc_ver()).strip() or "a libc other than glibc")
    return (
        f"{name} {' or '.join(pins)} has no ready-made build, a wheel, for\n"
        f"{platform.python_implementation()} {VERSION} on {machine}. The course knows\n"
        f"{KNOWN}.\n"
        "Take such a machine, or such a Python: make lab PYTHON=python3.13. A company's mirror\n"
        "may also lag behind requirements.lock. To have pip compile packages, see the README."
    )


class Venv:
    """The folder `path`: what it should hold, whether it does, and how to make it so."""

    def __init__(self, path: Path, *, dev: bool) -> None:
        self.path = path
        self.dev = dev
        self.stamp = path / "labsvc-stamp.json"
        self.log = path / "labsvc-install.log"
        paths = {"base": str(path)}
        self.packages = Path(sysconfig.get_path("purelib", "venv", paths))
        name = "python.exe" if os.name == "nt" else "python"
        self.python = Path(sysconfig.get_path("scripts", "venv", paths)) / name
        self.project = read_project()

    def fingerprint(self) -> str:
        """Return a hash of all that decides what is installed and whether it can run."""
        wanted = [
            self.project["project"],
            self.project["build-system"],
            LOCK.read_text(encoding="utf-8"),
            sys.version,
            platform.machine(),
            str(ROOT),
            str(self.path),
        ]
        return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()

    def installed(self) -> list[str]:
        """Return the names and versions of the packages in the folder."""
        return sorted(entry.name for entry in self.packages.glob("*.dist-info"))

    def profile(self) -> str | None:
        """Return "dev" or "lab" for what the folder holds, None if it has to be made anew."""
        try:
            stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
            whole = set(stamp["installed"]) <= set(self.installed())
            same = stamp["fingerprint"] == self.fingerprint()
            probe = "import importlib.util as u, sys; sys.exit(not u.find_spec('pip'))"
            runs = whole and same and not self.call([str(self.python), "-I", "-c", probe])
        except (OSError, ValueError, KeyError):
            return None
        return stamp["profile"] if runs else None

    def ready(self) -> bool:
        """Say whether nothing is left to do."""
        return self.profile() in (("dev",) if self.dev else ("dev", "lab"))

    def make(self, lock: int) -> None:
        """Make or complete the folder; the stamp that calls it whole is written last.

        `lock` is the descriptor of the lock file. Children inherit it: a pip that outlives this
        process keeps the next run waiting until it has ended.
        """
        began = time.monotonic()
        needs = list(self.project["project"]["dependencies"])
        if self.dev:
            needs += self.project["project"]["optional-dependencies"]["dev"]
        if self.profile() is None:
            say(f"Making {self.path} with Python {VERSION}: first use, about a minute.")
            self.clear()
            # The interpreter outside any venv, for the one running may be the one to replace.
            base = getattr(sys, "_base_executable", None) or sys.executable
            self.run([base, "-m", "venv", "--prompt", "labsvc", str(self.path)], lock)
        else:
            say(f"Adding the tools that check the course to {self.path}.")
            self.stamp.write_text("{}", encoding="utf-8")
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        pip += ["install", "--progress-bar=off", "--no-compile", f"--constraint={LOCK}"]
        pip += ["--only-binary=:all:"]  # a package that has to be compiled would fail much later
        # A new pip halves the time; few retries: a dead network shows at this first step.
        backend = self.project["build-system"]["requires"]
        self.run([*pip, "--retries=2", "pip", *backend], lock)
        self.run([*pip, *needs], lock)
        self.run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], lock)
        say("  compiling")
        # The exit code counts files that are not meant for this Python; packages carry such.
        self.call([str(self.python), "-m", "compileall", "-qq", "-j0", str(self.packages)], lock)
        installed = self.installed()
        stamp = {
            "fingerprint": self.fingerprint(),
            "profile": "dev" if self.dev else "lab",
            "installed": installed,
        }
        self.stamp.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        say(f"  {len(installed)} packages, {time.monotonic() - began:.0f} s")

    def clear(self) -> None:
        """Empty the folder, if it is one that this script or venv made."""
        self.path.mkdir(parents=True, exist_ok=True)
        ours = self.stamp.exists() or (self.path / "pyvenv.cfg").exists()
        if not ours and any(self.path.iterdir()):
            msg = (
                f"{self.path} is not a virtual environment, so nothing in it was touched.\n"
                "Remove it, or point VENV at another folder, and run this again."
            )
            raise SetupError(msg)
        self.stamp.write_text("{}", encoding="utf-8")
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != self.stamp:
                entry.unlink()
        free = shutil.disk_usage(self.path).free // 2**20
        if free < ROOM_MB:
            msg = (
                f"{self.path} needs {ROOM_MB} MB, and {free} MB are free.\n"
                "Free some, or point VENV at a folder on another disk, and run this again."
            )
            raise SetupError(msg)

    def run(self, command: list[str], lock: int) -> None:
        """Run `command`, keep what it prints in the log and show how far it is."""
        lines = []
        collected = 0
        with self.log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(  # noqa: S603 - our own arguments
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env=environment(),
                cwd=ROOT,
                pass_fds=(lock,) if os.name == "posix" else (),
            )
            try:
                for line in process.stdout or ():
                    lines.append(line)
                    log.write(line)
                    collected += line.startswith("Collecting")
                    if line.startswith("Collecting") and collected % 25 == 0:
                        say(f"  {collected} packages found")
                    elif line.startswith("Installing collected packages") and collected:
                        say(f"  installing {line.count(',') + 1} packages")
                    elif "Retrying (" in line:
                        say("  the package index does not answer, trying again")
                process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
        if process.returncode:
            raise SetupError(explain("".join(lines)) + f"\nAll of it is in {self.log}")

    def call(self, command: list[str], *inherited: int) -> int:
        """Run `command` with its output thrown away; return its exit code."""
        return subprocess.run(  # noqa: S603 - our own arguments
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            check=False,
            pass_fds=inherited if os.name == "posix" else (),
        ).returncode


def read_project() -> dict[str, Any]:
    """Return pyproject.toml; the whole of what is installed is said there and in the lock."""
    import tomllib

    for path in (ROOT / "pyproject.toml", LOCK):
        if not path.exists():
            msg = f"{path} is missing: run bootstrap.py in a whole checkout of the course."
            raise SetupError(msg)
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def environment() -> dict[str, str]:
    """Return the environment without the settings that would install somewhere else."""
    unwanted = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "VIRTUAL_ENV"}
    kept = {key: value for key, value in os.environ.items() if key not in unwanted}
    return {**kept, "PIP_USER": "0", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[int]:
    """Hold the lock file at `path`, and wait while another run holds it; yield its descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        if not try_lock(handle.fileno()):
            say("Another run is at work on it: waiting until it has ended.")
            while not try_lock(handle.fileno()):
                time.sleep(0.2)
        yield handle.fileno()


def try_lock(descriptor: int) -> bool:
    """Take the lock if it is free; it goes with the process, however that ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def say(text: str) -> None:
    """Print a line at once, so that a pipe shows it too."""
    print(text, flush=True)


def main() -> int:
    """Make the folder if need be; return 0, 1 with a sentence, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description="Make .venv, or see that it is ready.")
    parser.add_argument("--dev", action="store_true", help="also what `make test` needs")
    parser.add_argument("--quiet", action="store_true", help="no line when it is ready already")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end the child too
    try:
        path = Path(os.environ.get("VENV") or ROOT / ".venv").resolve()
        venv = Venv(path, dev=options.dev)
        if not venv.ready():
            with only_one(venv.path.with_name(venv.path.name + ".lock")) as lock:
                if not venv.ready():
                    venv.make(lock)
        elif options.quiet:
            return 0
        say(f"{venv.path} is ready: `make lab`, or `{venv.python} -m labsvc lab`.")
    except SetupError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(explain(f"{error.strerror}: {error.filename}"), file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped. The next run starts this step afresh.", file=sys.stderr)
        return 130
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
