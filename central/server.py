"""Where central's parts meet: two ports, one database, and an orderly end."""

import asyncio
import logging
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from central import authority, home
from central.audit import Trail
from central.authority import Authority, Pair, key_pem, moment, pem
from central.control import Control
from central.enrolment import Enrolment
from central.handshakes import ABORTED, Brake, Capture, Failure
from central.home import Home
from central.lane import Register
from central.notify import notify
from central.operator import Operator
from central.session import Sessions
from central.store.database import Database
from storeedge.v1.control_pb2_grpc import add_ControlServicer_to_server
from storeedge.v1.enrolment_pb2_grpc import add_EnrolmentServicer_to_server
from storeedge.v1.operator_pb2_grpc import add_OperatorServicer_to_server

log = logging.getLogger("central")

STOP_SECONDS = 3.0
DRAIN_SECONDS = 2

# https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h: the name of the first one is not
# the macro's; ping_timeout is what notices a peer that is frozen behind a path that still acknowledges TCP.
SERVER_OPTIONS = [
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 45_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.http2.ping_timeout_ms", 15_000),
    ("grpc.server_handshake_timeout_ms", 20_000),
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.so_reuseport", 0),
]
ENROL_OPTIONS = [*SERVER_OPTIONS[:-2], ("grpc.max_receive_message_length", 64 << 10), ("grpc.so_reuseport", 0)]


@dataclass(frozen=True, slots=True)
class Options:
    home: Home
    listen: str  # HOST:PORT of Control and Operator; port 0 takes a free one
    enrol_listen: str  # HOST:PORT of Enrolment
    advertise: str = ""  # HOST:PORT that nodes dial for Control; empty: as listened on
    heartbeat_seconds: int = 5


class StartError(Exception):
    """Central can't start; the text is one line for people."""


class Certificates:
    """Central's own leaf, made anew at half of its life. The fetchers run for each handshake, on threads of core."""

    def __init__(self, issuer: Authority, wall_nano: Callable[[], int]) -> None:
        self._issuer, self._wall_nano = issuer, wall_nano
        self._renew_at = 0
        self._pair: Pair | None = None

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Leaf, issuing CA and root: a box that enrols finds the root its token pins."""
        now = self._wall_nano()
        if self._pair is None or now >= self._renew_at:
            self._pair = self._issuer.issue_server(moment(now))
            self._renew_at = now + int(authority.SERVER_LIFE.total_seconds() * 0.5e9)
        chain = pem(self._pair.certificate, self._issuer.issuing.certificate, self._issuer.root)
        return grpc.ssl_server_certificate_configuration(
            [(key_pem(self._pair.key), chain)], root_certificates=pem(self._issuer.root)
        )

    def credentials(self, *, client_certificate: bool) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(
            self.configuration(), self.configuration, require_client_authentication=client_certificate
        )


def _load(directory: Home) -> Authority:
    try:
        return Authority.load(
            directory.root.read_bytes(), directory.issuing.read_bytes(), directory.issuing_key.read_bytes()
        )
    except (OSError, ValueError) as error:
        raise StartError(f"no certificate authority in {directory.directory} ({error}): run edgectl init") from error


def _listen(server: grpc.aio.Server, where: str, credentials: grpc.ServerCredentials) -> str:
    """HOST:PORT that it listens on, the port a real one."""
    try:
        port = server.add_secure_port(where, credentials)
    except RuntimeError as error:
        raise StartError(f"can't listen on {where}: {error}") from error
    if port == 0:
        raise StartError(f"can't listen on {where}")
    return f"{where.rpartition(':')[0]}:{port}"


def _dialled(listening: str, advertise: str) -> str:
    if advertise:
        return advertise
    if listening.rpartition(":")[0].strip("[]") in ("", "0.0.0.0", "::"):  # noqa: S104 - asked whether it is
        raise StartError(f"listening on {listening}: say with --advertise HOST:PORT what nodes shall dial")
    return listening


@asynccontextmanager
async def running(options: Options, wall_nano: Callable[[], int]) -> AsyncGenerator[tuple[str, str, Trail]]:
    """Serves within the block: (control address, enrolment address, audit trail)."""
    issuer = _load(options.home)
    try:
        database = Database(options.home.database)
    except sqlite3.Error as error:
        raise StartError(f"{options.home.database}: {error}") from error
    reader = Database(options.home.database, reads_only=True)
    certificates = Certificates(issuer, wall_nano)
    trail, register = Trail(database, wall_nano), Register()
    sessions = Sessions(database, register, wall_nano, options.heartbeat_seconds)
    control_server = grpc.aio.server(options=SERVER_OPTIONS)
    enrol_server = grpc.aio.server(options=ENROL_OPTIONS)
    try:
        control = _listen(control_server, options.listen, certificates.credentials(client_certificate=True))
        enrol = _listen(enrol_server, options.enrol_listen, certificates.credentials(client_certificate=False))
        dialled = _dialled(control, options.advertise)
        add_ControlServicer_to_server(Control(database, issuer, sessions, trail, wall_nano), control_server)
        add_OperatorServicer_to_server(Operator(database, reader, issuer, register, trail, wall_nano), control_server)
        add_EnrolmentServicer_to_server(Enrolment(database, issuer, trail, wall_nano, dialled), enrol_server)
        await control_server.start()
        await enrol_server.start()
        home.write(options.home.address, dialled.encode())
        yield control, enrol, trail
    finally:
        register.drain(DRAIN_SECONDS)
        await enrol_server.stop(0)
        await control_server.stop(STOP_SECONDS)
        database.close()
        reader.close()


async def serve(options: Options, capture: Capture) -> None:
    """Until SIGTERM or SIGINT. Raises StartError."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(options, time.time_ns) as (control, enrol, trail):
        failures: asyncio.Queue[Failure] = asyncio.Queue()
        capture.on_failure = lambda failure: loop.call_soon_threadsafe(failures.put_nowait, failure)
        async with asyncio.TaskGroup() as tasks:
            auditor = tasks.create_task(_audit_failures(failures, trail, {control: "control", enrol: "enrolment"}))
            sys.stdout.write(f"central: ready control={control} enrol={enrol}\n")
            sys.stdout.flush()
            notify("READY=1")
            await stop.wait()
            notify("STOPPING=1")
            capture.on_failure = None
            auditor.cancel()


async def _audit_failures(failures: "asyncio.Queue[Failure]", trail: Trail, ports: dict[str, str]) -> None:
    """Write failed handshakes down, as far as the brake lets them."""
    loop, brake = asyncio.get_running_loop(), Brake()
    while True:
        failure = await failures.get()
        port = next((name for where, name in ports.items() if failure.local.endswith(where.rpartition(":")[2])), "")
        knocked = failure.outcome == ABORTED and port != "enrolment"  # links break, and probes knock, all day long
        if knocked or not brake.passes(loop.time()):
            continue
        detail = failure.detail
        if brake.suppressed:
            detail, brake.suppressed = f"{detail} ({brake.suppressed} more before, not written down)", 0
        await trail.note(failure.peer, "tls.handshake", port, failure.outcome, detail)
