"""edgectl image push S/N FILE: an OCI archive into a node, piece by piece; goes on where it was."""

import argparse
import hashlib
import sys
import time
from pathlib import Path

from central.cli import client, show
from central.cli.errors import CliError
from storeedge.v1.agent_pb2 import PutImageRequest, PutImageResponse
from storeedge.v1.operator_pb2_grpc import OperatorStub
from storeedge.v1.types_pb2 import NodeRef

# With its envelope below the 128 KiB that central takes as a payload.
_PIECE_BYTES = 120 * 1024
_ASK_SECONDS = 0.5
_PASSING = ("(NODE_AWAY)", "(AWAY)", "(DEADLINE)", "(CONFLICT)", "UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["push"])
    parser.add_argument("node", metavar="S/N")
    parser.add_argument("file", type=Path, metavar="FILE", help="OCI archive: skopeo copy ... oci-archive:FILE")
    parser.add_argument(
        "--wait", type=int, default=600, metavar="SECONDS", help="keep trying this long without progress (default: 600)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the digest to write into a job: image = "sha256:..."."""
    node = client.node_ref(arguments.node)
    try:
        with arguments.file.open("rb") as file:
            name = hashlib.file_digest(file, "sha256").digest()
            total = file.tell()
    except OSError as error:
        raise CliError(f"{arguments.file}: {error.strerror}") from error
    push = _Push(arguments, node, name, total)
    digest = push.to_its_end()
    if arguments.json:
        show.document({"node": arguments.node, "digest": digest, "archive_bytes": total})
    else:
        sys.stdout.write(f"{digest}\n")
    return 0


class _Push:
    """Outlives a WAN that breaks and a node that restarts: what has arrived is asked for, and it goes on from there."""

    def __init__(self, arguments: argparse.Namespace, node: NodeRef, name: bytes, total: int) -> None:
        self._arguments, self._node, self._name, self._total = arguments, node, name, total
        self._last_progress = time.monotonic()
        self._shown = -1

    def to_its_end(self) -> str:
        while True:
            try:
                with client.operator(self._arguments) as central:
                    return self._send(central)
            except CliError as error:
                if not _passing(str(error)) or time.monotonic() - self._last_progress > self._arguments.wait:
                    raise
                self._say(f"{error}; trying again")
                time.sleep(_ASK_SECONDS)  # noqa: TID251  a command, not a loop that others share

    def _send(self, central: OperatorStub) -> str:
        with self._arguments.file.open("rb") as file:
            answer = self._put(central, 0, b"")
            while not answer.digest:
                file.seek(answer.received_bytes)
                data = file.read(_PIECE_BYTES)
                if not data:
                    self._say("arrived; the node checks and converts it")
                    time.sleep(_ASK_SECONDS)  # noqa: TID251  a command, not a loop that others share
                answer = self._put(central, answer.received_bytes, data)
        return answer.digest

    def _put(self, central: OperatorStub, offset: int, data: bytes) -> PutImageResponse:
        request = PutImageRequest(archive_sha256=self._name, total_bytes=self._total, offset=offset, data=data)
        answer = client.ask(central, self._node, "PutImage", request, PutImageResponse)
        self._last_progress = time.monotonic()
        percent = answer.received_bytes * 100 // self._total
        if percent != self._shown:
            self._shown = percent
            self._say(f"{show.size(answer.received_bytes)} of {show.size(self._total)}, {percent} %")
        return answer

    def _say(self, what: str) -> None:
        """On one line of a terminal; nothing where nobody watches."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{self._arguments.file.name}: {what}")
            sys.stderr.flush()


def _passing(text: str) -> bool:
    """Whether a refusal's reason is one that passes by itself; the archive is then still worth sending."""
    return any(
        word in text for word in ("(NODE_AWAY)", "(AWAY)", "(DEADLINE)", "(CONFLICT)", "UNAVAILABLE", "CANCELLED")
    )
