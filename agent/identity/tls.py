"""Mutually authenticated gRPC with this node's identity: channels to central, and the agent's own port."""

from datetime import UTC, datetime

import grpc
import grpc.aio

from agent.errors import CorruptError, RefusedError
from agent.identity import spiffe
from agent.identity.handshake import client_context, handshake
from agent.identity.store import Identity

# Times in ms; each was measured. A dead path is noticed after about 40 s.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Where something on the path still acknowledges TCP, this is the timeout that counts; its default is 60 s.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 60_000),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 4 << 20),
    # probe() dials directly; a proxy of the environment must not make the two disagree.
    ("grpc.enable_http_proxy", 0),
)


def channel(identity: Identity, address: str | None = None) -> grpc.aio.Channel:
    """A channel to central's Control, at the address told at enrolment unless another is given."""
    credentials = grpc.ssl_channel_credentials(identity.bundle_pem, identity.key_pem, identity.chain_pem)
    return secure_channel(address or identity.control_address, credentials, identity.trust_domain)


def secure_channel(address: str, credentials: grpc.ChannelCredentials, trust_domain: str) -> grpc.aio.Channel:
    """A channel to whoever central's CA has named central, whatever address is dialled."""
    options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", spiffe.central_name(trust_domain))]
    return grpc.aio.secure_channel(address, credentials, options)


async def probe(identity: Identity, address: str | None = None, timeout_seconds: float = 20.0) -> None:
    """Returns if central is there, is central, and takes our certificate. Call it before opening a channel.

    gRPC's client in Python sees neither the peer's SPIFFE id nor an alert: an expired certificate, an unknown CA and a
    dead network all look like UNAVAILABLE.

    Raises AwayError (network), RefusedError(PERMISSION_DENIED) (TLS, or another peer), CorruptError (our files).
    """
    context = client_context()
    try:
        context.load_verify_locations(cadata=identity.bundle_pem.decode())
        # The password is never asked for on a terminal, also where the key isn't locked.
        files = (identity.directory / "chain.pem", identity.directory / "key.pem")
        context.load_cert_chain(*files, password=identity.secret or b"none")
    except (OSError, ValueError) as error:
        raise CorruptError(f"{identity.directory} is broken: {error}; enrol again with --force") from error
    async with handshake(
        address or identity.control_address, context, spiffe.central_name(identity.trust_domain), timeout_seconds
    ) as server:
        if server.uris() != (identity.central_spiffe_id,):
            found = ", ".join(server.uris()) or "nobody"
            raise RefusedError("PERMISSION_DENIED", f"the server is {found}, not {identity.central_spiffe_id}")
        if not await server.answers():
            begin, end = map(_day, (identity.not_before_unix_nano, identity.not_after_unix_nano))
            raise RefusedError(
                "PERMISSION_DENIED",
                "central ended the connection upon our certificate: it has expired or is not of central's CA;"
                f" it is valid from {begin} to {end}",
            )


def _day(unix_nano: int) -> str:
    return datetime.fromtimestamp(unix_nano // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def server_credentials(identity: Identity) -> grpc.ServerCredentials:
    """For the agent's own port: a caller needs a certificate of the same authority; who it is, is checked there."""
    pair = (identity.key_pem, identity.chain_pem)
    return grpc.ssl_server_credentials([pair], identity.bundle_pem, require_client_auth=True)
