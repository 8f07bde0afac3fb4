"""The command line: labsvc lab, update, test-out, progress, reset, symptom, doctor, broker."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from labsvc.errors import LabError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

MARKS = {True: "ok", False: "WRONG", None: "note"}


def parser() -> argparse.ArgumentParser:
    """Return the parser, a command each with a line of help."""
    top = argparse.ArgumentParser(prog="labsvc", description="Real services inside a kernel.")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    lab = commands.add_parser(
        "lab",
        help="open JupyterLab on your own copy of the course",
        description="Open JupyterLab on your own copy, on 127.0.0.1 and with a token.",
        epilog="Other arguments go on to JupyterLab: labsvc lab --no-browser --port=9000",
    )
    lab.add_argument("--into", metavar="DIR", type=Path, help="the copy's folder, new or your own")
    lab.add_argument("--tracked", action="store_true", help="the repository's own notebooks")
    update = commands.add_parser(
        "update",
        help="bring a newer edition of the course into your copy",
        description="Bring a newer edition into your copy. What you wrote stays.",
    )
    update.add_argument("--into", metavar="DIR", type=Path, help="the copy's folder")
    test_out = commands.add_parser(
        "test-out",
        help="get one hard exercise for a part that you may know",
        description="Put one hard exercise into your copy. Solved, its part counts as known.",
    )
    test_out.add_argument("part", metavar="N", help="the part's number, 0 to 6")
    commands.add_parser(
        "doctor",
        help="check this machine and say how to repair what is wrong",
        description="Check this machine. The exit code is 1 if something is wrong.",
    )
    progress = commands.add_parser(
        "progress",
        help="show which exercises are solved",
        description="Show which exercises are solved.",
    )
    progress.add_argument("notebook", metavar="NN", nargs="?", help="of one notebook only")
    reset = commands.add_parser(
        "reset",
        help="restore one notebook to how it came",
        description="Restore one notebook to how it came and forget its exercises.",
    )
    reset.add_argument("notebook", metavar="NN", help="the notebook's number, as 03")
    symptom = commands.add_parser(
        "symptom",
        help="find the pitfall behind what you see or paste",
        description="Find the pitfall behind what you see. Nothing is kept or sent. "
        "The exit code is 1 if the course has nothing on it.",
        epilog="A traceback comes from a pipe: labsvc symptom < traceback.txt",
    )
    symptom.add_argument("words", metavar="WORD", nargs="*", help="what you see; - for a pipe")
    broker = commands.add_parser(
        "broker",
        help="run the queue broker alone",
        description="Run the queue broker alone, on 127.0.0.1, until SIGTERM or Ctrl-C.",
    )
    broker.add_argument("--port", type=int, default=0, help="the port, 0 for a free one")
    broker.add_argument("--data", type=Path, required=True, help="the folder for what is durable")
    broker.add_argument(
        "--flush",
        action="store_true",
        help="flush to the disk before each answer: it then survives a power cut, not just a kill",
    )
    broker.add_argument("--user", default="lab", help="who may log in (default: lab)")
    broker.add_argument(
        "--password-from-env",
        metavar="NAME",
        help="the environment variable with the password; without it, one is made up",
    )
    return top


def doctor(*_: object) -> int:
    """Print what was found on this machine; return 1 if something is wrong."""
    from labsvc.doctor import examine

    findings = examine()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{MARKS[finding.ok]:7}{finding.name:{width}}  {finding.detail}")
        if finding.repair and not finding.ok:
            print(f"{'':7}{'':{width}}  -> {finding.repair}")
    return int(any(finding.ok is False for finding in findings))


def lab(options: Namespace, extra: Sequence[str]) -> int:
    """Run JupyterLab."""
    from labsvc.jupyter import lab

    lab(extra, options.into, tracked=options.tracked)
    return 0


def update(options: Namespace, _: Sequence[str]) -> int:
    """Bring a newer edition into a copy."""
    from labsvc.course.commands import update

    print(update(options.into))
    return 0


def give_test_out(options: Namespace, _: Sequence[str]) -> int:
    """Give the hard exercise of a part."""
    from labsvc.checks.testing_out import notebook_of
    from labsvc.course.commands import give_test_out

    print(give_test_out(notebook_of(options.part)))
    return 0


def progress(options: Namespace, _: Sequence[str]) -> int:
    """Show what is solved."""
    from labsvc.checks.progress import show
    from labsvc.course.commands import finish

    finish()
    show(options.notebook)
    return 0


def reset(options: Namespace, _: Sequence[str]) -> int:
    """Give a notebook back as it came."""
    from labsvc.checks.reset import reset

    print(reset(options.notebook))
    return 0


def symptom(options: Namespace, _: Sequence[str]) -> int:
    """Say where the course treats a symptom."""
    from labsvc.symptoms import symptom

    answer, code = symptom(options.words)
    print(answer)
    return code


def broker(options: Namespace, _: Sequence[str]) -> int:
    """Run the queue broker alone."""
    from labsvc.amqp.standalone import serve

    say = partial(print, flush=True)
    password = options.password_from_env
    serve(options.data, options.port, options.user, password, say, flush=options.flush)
    return 0


RUN: dict[str, Callable[[Namespace, Sequence[str]], int]] = {
    "lab": lab,
    "update": update,
    "test-out": give_test_out,
    "progress": progress,
    "reset": reset,
    "symptom": symptom,
    "doctor": doctor,
    "broker": broker,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, 1 with a sentence for what we know can go wrong."""
    top = parser()
    options, extra = top.parse_known_args(argv)
    if extra and options.command != "lab":
        top.error(f"{options.command} does not take {' '.join(extra)}")
    try:
        return RUN[options.command](options, extra)
    except (LabError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
