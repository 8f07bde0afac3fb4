"""pyproject.toml, requirements.lock, environment.yml and the CI job say the same."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec

import bootstrap
from tests import platforms

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
JOBS: dict[str, Any] = yaml.safe_load(
    (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
)["jobs"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()

PYPI_NAMES = {"matplotlib-base": "matplotlib", "prometheus_client": "prometheus-client"}
FIXED = {  # the packages that were asked for; etcd-sdk-python stands for etcd3
    "jupyterlab",
    "grpcio",
    "grpcio-tools",
    "protobuf",
    "etcd-sdk-python",
    "matplotlib",
    "nbval",
}


def ranges(requirements: list[str]) -> dict[str, SpecifierSet]:
    """Return the version range of each requirement, by its normalised name."""
    parsed = map(Requirement, requirements)
    return {canonicalize_name(one.name): one.specifier for one in parsed}


RUNTIME = ranges(PYPROJECT["project"]["dependencies"])
DEVELOPMENT = ranges(PYPROJECT["project"]["optional-dependencies"]["dev"])
BUILD = ranges(PYPROJECT["build-system"]["requires"])


def conda_ranges() -> dict[str, SpecifierSet]:
    """Return the range of each conda spec; py-rattler, a conda solver's parser, reads them."""
    found = {}
    for spec in CONDA["dependencies"]:
        if isinstance(spec, str):
            match = MatchSpec(spec)
            assert match.name is not None
            name = match.name.normalized
            version = "" if match.version is None else str(match.version)
            found[PYPI_NAMES.get(name, name)] = SpecifierSet(version)
    return found


def pip_lines() -> list[str]:
    """Return the lines of the pip section, the last entry of the dependencies."""
    lines: list[str] = CONDA["dependencies"][-1]["pip"]
    return lines


def test_conda_environment_has_the_known_form() -> None:
    """environment.yml has a name, conda-forge as its only source, and pip with a section."""
    assert set(CONDA) == {"name", "channels", "dependencies"}
    assert CONDA["channels"] == ["conda-forge"]
    assert "pip" in CONDA["dependencies"]
    assert pip_lines()[-1] == "-e ."


def test_conda_environment_has_the_dependencies_of_the_package() -> None:
    """Its conda and pip parts together name what pyproject.toml names, in equal ranges."""
    by_conda = conda_ranges()
    python = by_conda.pop("python")
    by_conda.pop("pip")
    by_pip = ranges(pip_lines()[:-1])
    assert not by_conda.keys() & by_pip.keys()
    assert by_conda | by_pip == RUNTIME
    assert python == SpecifierSet(PYPROJECT["project"]["requires-python"])


def test_packages_asked_for_are_there() -> None:
    """A learner's installation has every package that the course was asked to use."""
    assert RUNTIME.keys() >= FIXED


def test_lock_holds_exact_versions_and_no_address() -> None:
    """Every line of the lock is one package at one version, from no particular index."""
    for line in LOCK:
        requirement = Requirement(line)
        assert requirement.url is None, line
        assert [clause.operator for clause in requirement.specifier] == ["=="], line


@pytest.mark.parametrize("needed", [RUNTIME, DEVELOPMENT, BUILD], ids=["lab", "dev", "build"])
def test_lock_lies_inside_the_ranges(needed: dict[str, SpecifierSet]) -> None:
    """Each dependency is pinned, for every marker, to a version that its range allows."""
    pins: dict[str, list[str]] = {}
    for requirement in map(Requirement, LOCK):
        version = next(iter(requirement.specifier)).version
        pins.setdefault(canonicalize_name(requirement.name), []).append(version)
    for name, allowed in needed.items():
        assert pins.get(name), f"{name} is not in requirements.lock"
        for version in pins[name]:
            assert allowed.contains(version, prereleases=True), f"{name} {version}"


def test_lock_pins_what_installs() -> None:
    """What installs the packages is pinned too, so that two machines install alike."""
    names = {canonicalize_name(Requirement(line).name) for line in LOCK}
    assert names >= {"pip", "hatchling", "editables"}


def test_platforms_are_named_alike() -> None:
    """The README, bootstrap.py, `make platforms` and the lock's settings know the same ones."""
    known = bootstrap.KNOWN.replace("\n", " ")
    assert known in (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    assert f"CPython {platforms.PYTHONS[0]} to {platforms.PYTHONS[-1]} " in known
    assert f"macOS {platforms.MACOS.split('.')[0]} " in known
    for name, tag in platforms.PLATFORMS.items():
        system, _, machine = name.partition(" on ")
        assert system in known
        assert machine in known
        glibc = tag.partition("manylinux_")[2].replace("_", ".")
        assert not glibc or f"glibc {glibc} " in known
    required = PYPROJECT["tool"]["uv"]["required-environments"]
    assert len(required) == len(platforms.PLATFORMS)


def commands(job: str) -> list[str]:
    """Return what a job of the workflow runs."""
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def test_ci_runs_the_command_of_the_readme() -> None:
    """The CI job runs `make test`, as the README says, on Linux and macOS with two Pythons."""
    assert commands("test") == ["make test"]
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    matrix = JOBS["test"]["strategy"]["matrix"]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos"}
    supported = SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert len(matrix["python"]) > 1
    assert all(supported.contains(version) for version in matrix["python"])


def test_local_ci_runs_the_same() -> None:
    """`.ci/run` can be executed, and ends with what the workflow's two jobs run."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    both = commands("test") + commands("prove")
    assert script.read_text(encoding="utf-8").splitlines()[-len(both) :] == both
