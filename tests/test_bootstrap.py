"""bootstrap.py, run as a learner runs it, on a small project with wheels of its own."""

from __future__ import annotations

import ast
import ensurepip
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
FORM = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PYPROJECT = """\
[build-system]
requires = ["builder"]
build-backend = "backend"
backend-path = ["."]

[project]
name = "course"
version = "1"
dependencies = ["needed"]

[project.optional-dependencies]
dev = ["checker"]
"""
BACKEND = """\
import pathlib, shutil, time

def build_editable(folder, config_settings=None, metadata_directory=None):
    pathlib.Path("building").touch()
    while pathlib.Path("hold").exists():
        time.sleep(0.05)
    wheel = pathlib.Path("wheels", "course-1-py3-none-any.whl")
    shutil.copy(wheel, folder)
    return wheel.name
"""
PINS = "builder==1\nneeded==1\nchecker==1\n"


def write_wheel(folder: Path, name: str, version: str) -> None:
    """Write a wheel with one module, which holds its version."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", about)
        wheel.writestr(f"{info}/WHEEL", FORM)
        wheel.writestr(f"{info}/RECORD", "")


class Checkout:
    """A folder with bootstrap.py and a project whose packages lie in a folder beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        shutil.copy(ROOT / "bootstrap.py", folder)
        shutil.copy(PIP, wheels)
        for name in ("builder", "needed", "checker", "course"):
            write_wheel(wheels, name, "1")
            write_wheel(wheels, name, "2")
        self.write("pyproject.toml", PYPROJECT)
        self.write("backend.py", BACKEND)
        self.write("requirements.lock", PINS)

    def write(self, name: str, text: str) -> None:
        """Write one file of the project."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start bootstrap.py and return at once."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        kept.pop("VENV", None)  # `make test` sets it
        index = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": (self.folder / "wheels").as_uri(),
        }
        return subprocess.Popen(
            [sys.executable, str(self.folder / "bootstrap.py"), *arguments],
            env={**kept, **index, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Run bootstrap.py; return its exit code and all it printed."""
        process = self.start(*arguments, **variables)
        output, _ = process.communicate(timeout=100)
        return process.returncode, output

    def profile(self) -> str:
        """Return what bootstrap.py holds .venv for: "lab", "dev" or "None"."""
        code = "import bootstrap as b; print(b.Venv(b.ROOT / '.venv', dev=False).profile())"
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def packages(self) -> set[str]:
        """Return the names and versions in .venv, without pip's own."""
        found = {entry.stem for entry in (self.folder / ".venv").rglob("*.dist-info")}
        return {name for name in found if not name.startswith(("pip", "setuptools"))}

    def wait_for(self, name: str) -> None:
        """Wait until a file of the project exists."""
        deadline = time.monotonic() + 60
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, f"{name} did not appear"
            time.sleep(0.05)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Make a fresh checkout, in a folder with a space in its name."""
    return Checkout(tmp_path / "a course")


def test_made_once_and_completed(checkout: Checkout) -> None:
    """The folder is made at first, found ready afterwards, and completed for `make test`."""
    code, output = checkout.run()
    assert code == 0, output
    assert output.startswith("Making ")
    assert checkout.packages() == {"builder-1", "needed-1", "course-1"}

    code, output = checkout.run()
    assert (code, output.count("\n")) == (0, 1), output
    assert " is ready" in output
    assert checkout.run("--quiet") == (0, "")

    code, output = checkout.run("--dev")
    assert code == 0, output
    assert output.startswith("Adding ")
    assert checkout.packages() == {"builder-1", "needed-1", "course-1", "checker-1"}
    assert checkout.run("--quiet") == checkout.run("--quiet", "--dev") == (0, "")


def test_damage_and_changes_are_noticed(checkout: Checkout) -> None:
    """What was removed, moved or pinned anew since the folder was made is made anew."""
    assert checkout.run()[0] == 0
    venv = checkout.folder / ".venv"
    assert checkout.profile() == "lab"

    for name in ("needed-1.dist-info", "python"):
        (lost,) = venv.rglob(name)
        lost.rename(venv / "away")
        assert checkout.profile() == "None", name
        (venv / "away").rename(lost)
        assert checkout.profile() == "lab"

    checkout.write("requirements.lock", PINS.replace("needed==1", "needed==2"))
    assert checkout.profile() == "None"
    checkout.write("requirements.lock", PINS)
    checkout.write("pyproject.toml", PYPROJECT.replace('"needed"', '"needed", "checker"'))
    assert checkout.profile() == "None"
    checkout.write("pyproject.toml", PYPROJECT + "[tool.ruff]\nline-length = 100\n")
    assert checkout.profile() == "lab"

    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.profile() == "None"


@pytest.mark.parametrize("crash", [False, True], ids=["ctrl-c at the start", "crash at the end"])
def test_interrupted_run_recovers(checkout: Checkout, *, crash: bool) -> None:
    """After Ctrl-C or a crash in mid-install, the next run makes the folder whole."""
    checkout.write("hold", "")
    process = checkout.start()
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Making ")
    if crash:
        checkout.wait_for("building")
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)
    (checkout.folder / "hold").unlink()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if crash else 130)
    assert "Traceback" not in output
    assert checkout.profile() == "None"

    code, output = checkout.run()
    assert code == 0, output
    assert "Making " in output
    assert checkout.packages() == {"builder-1", "needed-1", "course-1"}
    assert checkout.profile() == "lab"


def test_two_runs_at_once(checkout: Checkout) -> None:
    """The second run waits for the first and finds the work done."""
    checkout.write("hold", "")
    first = checkout.start()
    checkout.wait_for("building")
    second = checkout.start()
    assert second.stdout is not None
    assert "waiting" in second.stdout.readline()
    (checkout.folder / "hold").unlink()
    assert "Making " in first.communicate(timeout=60)[0]
    output, _ = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "Making " not in output
    assert " is ready" in output


def test_foreign_folder_is_left_alone(checkout: Checkout, tmp_path: Path) -> None:
    """A folder that is no virtual environment is named, and nothing in it is touched."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years", encoding="utf-8")
    code, output = checkout.run(VENV=str(tmp_path / "mine"))
    assert code == 1
    assert "is not a virtual environment" in output
    assert [entry.name for entry in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_place_that_cannot_be_written(checkout: Checkout, tmp_path: Path) -> None:
    """A place where no folder can be made is a sentence, not a traceback."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, output = checkout.run(VENV=str(tmp_path / "file" / "venv"))
    assert code == 1
    assert "cannot be written" in output
    assert "Traceback" not in output


def test_unreachable_index(checkout: Checkout) -> None:
    """Without a network the sentence names the network, the proxy and PIP_INDEX_URL."""
    (checkout.folder / "wheels" / "builder-1-py3-none-any.whl").unlink()
    code, output = checkout.run(PIP_NO_INDEX="", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert code == 1
    assert "cannot be reached" in output
    assert "PIP_INDEX_URL" in output
    assert "Traceback" not in output


def test_unknown_platform(checkout: Checkout) -> None:
    """Where a package has no wheel, a sentence names it and the platforms; nothing is compiled."""
    wheels = checkout.folder / "wheels"
    wheel = wheels / "needed-1-py3-none-any.whl"
    wheel.rename(wheels / "needed-1-cp39-cp39-linux_armv7l.whl")
    source = checkout.folder / "needed-1"
    source.mkdir()
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: needed\nVersion: 1\n", "utf-8")
    (source / "setup.py").write_text("import sys; sys.exit('gcc: error')", "utf-8")
    with tarfile.open(wheels / "needed-1.tar.gz", "w:gz") as archive:
        archive.add(source, "needed-1")
    code, output = checkout.run()
    assert code == 1
    assert "needed 1 has no ready-made build" in output
    assert f"{platform.python_implementation()} {platform.python_version()} on" in output
    assert "Windows on x86-64" in output
    assert "make lab PYTHON=" in output
    assert "gcc" not in output


def test_incomplete_checkout(checkout: Checkout) -> None:
    """Without the lock there is nothing to install, and the sentence says so."""
    (checkout.folder / "requirements.lock").unlink()
    code, output = checkout.run()
    assert code == 1
    assert "requirements.lock is missing" in output


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("Error: ensurepip is not available", "-venv"),
        ("OSError: [Errno 13] Permission denied: '/opt'", "cannot be written"),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))", "PIP_CERT"),
        ("WARNING: Retrying (Retry(total=1)) after NewConnectionError", "cannot be reached"),
        ("ERROR: No matching distribution found for pyzmq==1", "pyzmq"),
        ("no matching distributions available for your environment:\n    Mini_Racer", "mini-racer"),
        ("The user requested (constraint) msgspec==1\nERROR: ResolutionImpossible", "msgspec"),
        ("something new", "something new"),
    ],
)
def test_failures_are_explained(monkeypatch: pytest.MonkeyPatch, printed: str, said: str) -> None:
    """Each known failure of pip or venv has a sentence; an unknown one shows its own words."""
    monkeypatch.syspath_prepend(ROOT)
    import bootstrap

    assert said in bootstrap.explain(f"Collecting needed\n{printed}\n")


def test_old_python_reaches_its_sentence() -> None:
    """The script is valid for an old parser, and asks for a newer Python before anything else."""
    source = (ROOT / "bootstrap.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    kinds = [type(node) for node in tree.body]
    question = kinds.index(ast.If)
    assert "Python 3.11 or later is needed" in ast.unparse(tree.body[question])
    assert question < min(map(kinds.index, (ast.FunctionDef, ast.ClassDef)))
