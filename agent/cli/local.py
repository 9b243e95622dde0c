"""Calls to the running agent through the store's own socket, for the verbs that show something."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from agent.config.load import load
from agent.errors import AwayError, RefusedError
from storeedge.v1 import agent_pb2_grpc

TIMEOUT_SECONDS = 10.0


class Local:
    """The agent on this box. Use as a context manager; gRPC's errors leave it as AwayError or RefusedError."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._socket = load(args.config).api.socket
        self._channel = grpc.insecure_channel(f"unix:{self._socket}")
        self.stub = agent_pb2_grpc.AgentServiceStub(self._channel)

    def __enter__(self) -> agent_pb2_grpc.AgentServiceStub:
        return self.stub

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._channel.close()
        if isinstance(error, grpc.RpcError):
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise AwayError(
                    f"the agent does not answer at {self._socket}: is it running (systemctl status edge-agent),"
                    " and may you use its socket (group edge-agent)?"
                ) from error
            raise RefusedError("INTERNAL", error.details() or error.code().name) from error


def moment(unix_nano: int) -> str:
    """Local time of day with its date, or a dash for never."""
    if not unix_nano:
        return "-"
    return datetime.fromtimestamp(unix_nano / 1e9, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns padded to their widest cell, on stdout."""
    cells = [tuple(header), *(tuple(str(c) for c in row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def document(message: Message) -> None:
    json.dump(MessageToDict(message, preserving_proto_field_name=True), sys.stdout, indent=2)
    print()
