"""Generate the Python stubs of every contract under protos/ (`make protos`).

    python protos/generate.py [--out FOLDER]

The stubs land beside the code that serves them (labsvc/shop/v1), because a proto file's path
below protos/ is also its import path. FOLDER stands for the root of the repository.
"""

# ruff: noqa: INP001
from __future__ import annotations

import argparse
import os
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path

from google.api import annotations_pb2  # type: ignore[import-untyped]
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent


def main() -> int:
    """Run protoc over all contracts; returns its exit code, 0 if all went well."""
    parser = argparse.ArgumentParser(description="Generate the Python stubs of the contracts.")
    parser.add_argument("--out", type=Path, default=PROTOS.parent, help="default: the repository")
    out = parser.parse_args().out
    # protoc looks for its plug-ins on PATH, also when this Python was started by its full path.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    contracts = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    return int(
        protoc.main(
            [
                "protoc",
                f"-I{PROTOS}",
                f"-I{files('grpc_tools') / '_proto'}",
                f"-I{Path(annotations_pb2.__file__).parents[2]}",
                f"--python_out={out}",
                f"--grpc_python_out={out}",
                f"--mypy_out=quiet:{out}",
                f"--mypy_grpc_out=quiet:{out}",
                *contracts,
            ]
        )
    )


if __name__ == "__main__":
    sys.exit(main())
