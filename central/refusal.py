"""How central says no: a closed set of reasons, sent as google.rpc.Status with ErrorInfo.

grpcio-status would do the same for one more dependency.
"""

import logging
import sqlite3
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from central import bounds

log = logging.getLogger("central.refusal")

DOMAIN = "storeedge"
DETAILS_KEY = "grpc-status-details-bin"  # https://github.com/grpc/proposal/blob/master/A32-richer-errors.md

# Reason -> canonical code. docs/PROTOCOL.md lists the same words; a test compares.
REASONS = {
    # enrolment
    "TOKEN_UNKNOWN": grpc.StatusCode.PERMISSION_DENIED,
    "TOKEN_USED": grpc.StatusCode.PERMISSION_DENIED,
    "TOKEN_EXPIRED": grpc.StatusCode.PERMISSION_DENIED,
    "CSR_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "CSR_WRONG_NODE": grpc.StatusCode.PERMISSION_DENIED,
    # who is calling
    "TLS_VERSION": grpc.StatusCode.UNAUTHENTICATED,
    "IDENTITY_INVALID": grpc.StatusCode.UNAUTHENTICATED,
    "CERTIFICATE_EXPIRED": grpc.StatusCode.UNAUTHENTICATED,
    "CERTIFICATE_REVOKED": grpc.StatusCode.UNAUTHENTICATED,
    "NODE_NOT_ENROLLED": grpc.StatusCode.PERMISSION_DENIED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    # the session
    "BAD_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "SEQUENCE_HOLE": grpc.StatusCode.INVALID_ARGUMENT,
    "SUPERSEDED": grpc.StatusCode.ABORTED,
    "HEARTBEAT_LOST": grpc.StatusCode.UNAVAILABLE,
    "DRAINING": grpc.StatusCode.UNAVAILABLE,
    "STORAGE": grpc.StatusCode.UNAVAILABLE,
    # the operator's side
    "NODE_UNKNOWN": grpc.StatusCode.NOT_FOUND,
    "NODE_AWAY": grpc.StatusCode.UNAVAILABLE,
    "NO_ROOM": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE": grpc.StatusCode.DEADLINE_EXCEEDED,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RefusedError(Exception):
    """A caller is refused. `status` is what it is told; its text is for people."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(status.message)
        self.status = status
        self.reason = reason


def refused(reason: str, message: str) -> RefusedError:
    """A refusal for one of REASONS."""
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=reason, domain=DOMAIN))
    return RefusedError(Status(code=REASONS[reason].value[0], message=message, details=[detail]), reason)


def relayed(status: Status) -> RefusedError:
    """The refusal another party answered with, passed on as it is."""
    return RefusedError(status, reason_of(status))


def check(message: Message, path: str = "") -> None:
    """Raises RefusedError(BAD_REQUEST) that names the first field that breaks a bound."""
    broken = bounds.violation(message, path)
    if broken:
        raise refused("BAD_REQUEST", broken)


def answerable(error: Exception) -> RefusedError:
    """What a caller may be told of anything that went wrong; what it may not goes to the log."""
    if isinstance(error, RefusedError):
        return error
    log.error("a call failed", exc_info=error)
    if isinstance(error, sqlite3.Error):
        return refused("STORAGE", "central can't store now")
    return refused("INTERNAL", "central failed; its log has the reason")


def reason_of(status: Status) -> str:
    """The reason in a Status; the name of its code if it carries none."""
    info = ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info.reason
    return _CODES.get(status.code, grpc.StatusCode.UNKNOWN).name


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", refusal: RefusedError) -> NoReturn:
    """End the call with this refusal. Raises the exception that grpc expects to see."""
    code = _CODES.get(refusal.status.code, grpc.StatusCode.UNKNOWN)
    await context.abort(code, str(refusal), ((DETAILS_KEY, refusal.status.SerializeToString()),))
