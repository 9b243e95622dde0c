"""Regenerate storeedge/**/*_pb2*.py(i) from the .proto files beside them: `./dev proto`, or into another folder."""

import sys
from pathlib import Path

import grpc_tools
from google.rpc import status_pb2
from grpc_tools import protoc

HERE = Path(__file__).parent


def generate(out: Path) -> None:
    """Write the generated modules below `out`. Raises SystemExit when protoc refuses a file."""
    google_rpc = Path(status_pb2.__file__).parents[2]
    google_protobuf = Path(grpc_tools.__file__).parent / "_proto"
    protos = sorted(HERE.glob("storeedge/**/*.proto"))
    services = [p for p in protos if "\nservice " in p.read_text()]
    paths = [f"-I{HERE}", f"-I{google_rpc}", f"-I{google_protobuf}"]
    runs = [
        ["protoc", *paths, f"--python_out={out}", f"--pyi_out={out}", *map(str, protos)],
        ["protoc", *paths, f"--grpc_python_out={out}", f"--mypy_grpc_out={out}", *map(str, services)],
    ]
    for argv in runs:
        if protoc.main(argv) != 0:
            sys.exit(1)


if __name__ == "__main__":
    generate(HERE)
