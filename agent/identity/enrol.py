"""How a box becomes a node: a one-time token, a key made here, a certificate from a central that the token pins."""

import asyncio
import hashlib
import logging
import shutil
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from agent.clock import Clock
from agent.config import address as addresses
from agent.errors import AwayError, RefusedError
from agent.fsio import sync_directory
from agent.identity import keys, spiffe, store, tls
from agent.identity import token as tokens
from agent.identity.handshake import Peer, client_context, handshake
from agent.identity.store import Identity
from agent.identity.token import Token
from storeedge.v1 import enrolment_pb2, enrolment_pb2_grpc

_log = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 20.0
_ATTEMPTS = 3
_PAUSE_SECONDS = 1.0
_CLOCK_TOLERANCE_NANO = 300 * 1_000_000_000
_DETAILS = "grpc-status-details-bin"  # https://github.com/grpc/proposal/blob/master/A32-richer-errors.md
_HARDWARE_BYTES = 256  # enrolment.proto

_REMEDIES = {
    "TOKEN_UNKNOWN": "central knows no such token; was it copied whole, and made by this central?",
    "TOKEN_USED": "the token was used already; a token is good for one box, ask for a new one",
    "TOKEN_EXPIRED": "the token has expired; ask for a new one",
    "CSR_WRONG_NODE": "the token is for another node",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """EnrolResponse, out of protobuf."""

    chain_der: Sequence[bytes]
    bundle_der: Sequence[bytes]
    control_address: str
    central_spiffe_id: str
    server_time_unix_nano: int


class SpentError(RefusedError):
    """Central knows us and will not take this token, now or later."""


async def enrol(
    central: str,
    token: str,
    state_dir: Path,
    hardware: str,
    clock: Clock,
    *,
    replace: bool = False,
    secret: bytes = b"",
) -> Identity:
    """Trade the token for an identity, stored and in force on return. `central` is HOST:PORT of its enrolment port.

    `secret` (lock.py) locks its key on disk. The key is kept for the next call with this token, until one succeeds:
    when central's answer is lost, also by a power cut, it gives the same again, but to the same key only.

    Raises RefusedError (central or certificate won't do; already enrolled and not `replace`), as SpentError when
    central refuses the token, AwayError, ConfigError (no state directory), StorageError. The token is sent to nobody
    but the central it was made by.
    """
    known = tokens.parse(token)
    try:
        addresses.split(central)
    except ValueError as error:
        raise RefusedError("BAD_REQUEST", f"central: {error}") from None
    if store.is_enrolled(state_dir) and not replace:
        raise RefusedError("CONFLICT", "this box is enrolled already; --force makes it a new node")
    with store.staging(state_dir, hashlib.sha256(known.id.encode()).hexdigest()[:16]) as staged:
        root = await _pinned_root(central, known)
        request = enrolment_pb2.EnrolRequest(
            token_id=known.id,
            token_secret=known.secret,
            csr_der=await _request(staged, str(known.node), secret),
            hardware=hardware.encode()[:_HARDWARE_BYTES].decode(errors="ignore"),
        )
        try:
            answer = await _ask(central, root, request, known)
        except SpentError:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        _warn_of_clock(answer.server_time_unix_nano - clock.wall_nano())
        facts = await keys.check(staged / "key.pem", answer.chain_der, answer.bundle_der, secret)
        _check_answer(answer, facts.uris, known)
        return await asyncio.to_thread(
            store.install,
            state_dir,
            staged,
            facts,
            chain_der=answer.chain_der,
            bundle_der=answer.bundle_der,
            control_address=answer.control_address,
            central_spiffe_id=answer.central_spiffe_id,
            secret=secret,
        )


async def _request(staged: Path, spiffe_id: str, secret: bytes) -> bytes:
    """For the key of an earlier attempt with this token, else for a new one: on disk before central sees it."""
    key_file = staged / "key.pem"
    if key_file.exists():
        try:
            return await keys.request(key_file, spiffe_id, secret)
        except RefusedError as error:  # locked with another secret, or broken
            _log.warning("the key of the last attempt is of no use: %s", error)
            key_file.unlink()
    made = await keys.make(key_file, spiffe_id, secret)
    sync_directory(staged)
    sync_directory(staged.parent)
    return made


async def _pinned_root(central: str, token: Token) -> bytes:
    """PEM of the root whose fingerprint is in the token, and proof that the server speaks for it."""
    name = spiffe.central_name(token.node.trust_domain)
    blind = client_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE  # only to read what it presents; nothing is sent
    async with handshake(central, blind, name, _TIMEOUT_SECONDS) as server:
        presented = _presented(server)
    for der in presented:
        if hashlib.sha256(der).hexdigest() == token.fingerprint:
            pem = ssl.DER_cert_to_PEM_cert(der)
            break
    else:
        raise RefusedError(
            "PERMISSION_DENIED",
            f"{central}: central's CA does not match the token: this is another central, or someone in between;"
            " the token was not sent",
        )
    trusting = client_context()
    trusting.load_verify_locations(cadata=pem)
    async with handshake(central, trusting, name, _TIMEOUT_SECONDS) as server:
        if not any(spiffe.in_domain(uri, token.node.trust_domain) for uri in server.uris()):
            raise RefusedError("PERMISSION_DENIED", f"{central}: the server is not of {token.node.trust_domain}")
    return pem.encode()


def _presented(server: Peer) -> list[bytes]:
    """The chain as the server sent it, DER. Public only since Python 3.13."""
    tls_object: Any = server.tls
    if hasattr(tls_object, "get_unverified_chain"):
        return list(tls_object.get_unverified_chain())
    chain: list[Any] = tls_object._sslobj.get_unverified_chain() or []  # noqa: SLF001 - as above
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]


async def _ask(central: str, root_pem: bytes, request: enrolment_pb2.EnrolRequest, token: Token) -> _Answer:
    """Asks again with the same key when the answer is lost: to another key the token would be a used one."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await _call(central, root_pem, request, token)
        except AwayError as error:
            _log.warning("asking again: %s", error)
            await asyncio.sleep(_PAUSE_SECONDS)
    return await _call(central, root_pem, request, token)


async def _call(central: str, root_pem: bytes, request: enrolment_pb2.EnrolRequest, token: Token) -> _Answer:
    credentials = grpc.ssl_channel_credentials(root_pem)
    channel = tls.secure_channel(central, credentials, token.node.trust_domain)
    try:
        stub = enrolment_pb2_grpc.EnrolmentStub(channel)
        response = await stub.Enrol(request, timeout=_TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError as error:
        raise _refusal(central, error) from error
    finally:
        await channel.close()
    return _Answer(
        tuple(response.chain_der),
        tuple(response.bundle_der),
        response.control_address,
        response.central_spiffe_id,
        response.server_time_unix_nano,
    )


def _refusal(central: str, error: grpc.aio.AioRpcError) -> RefusedError | AwayError:
    reason = _reason(error)
    if not reason and error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return AwayError(f"{central} can't be reached: {error.details()}")
    words = " ".join((error.details() or "no reason given").split())
    remedy = f"; {_REMEDIES[reason]}" if reason in _REMEDIES else ""
    kind = SpentError if reason in _REMEDIES else RefusedError
    return kind("PERMISSION_DENIED", f"central refused: {reason or error.code().name}: {words}{remedy}")


def _reason(error: grpc.aio.AioRpcError) -> str:
    """ErrorInfo's reason of the google.rpc.Status in the trailer; empty when there is none."""
    status, info = Status(), ErrorInfo()
    for key, value in error.trailing_metadata():
        if key == _DETAILS and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                return ""
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")


def _check_answer(answer: _Answer, uris: tuple[str, ...], token: Token) -> None:
    if uris != (str(token.node),):
        raise RefusedError("BAD_REQUEST", f"central issued a certificate for {uris}, not for {token.node}")
    if not spiffe.in_domain(answer.central_spiffe_id, token.node.trust_domain):
        raise RefusedError("BAD_REQUEST", f"central calls itself {answer.central_spiffe_id[:200]!r}: another domain")
    try:
        addresses.split(answer.control_address)
    except ValueError as error:
        raise RefusedError("BAD_REQUEST", f"central's control address: {error}") from None


def _warn_of_clock(ahead_nano: int) -> None:
    if abs(ahead_nano) > _CLOCK_TOLERANCE_NANO:
        _log.warning("this box's clock is wrong, certificates may be refused", extra={"seconds": ahead_nano // 10**9})
