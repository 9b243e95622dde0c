"""A TLS connection by the standard library, whose failures are told in words and sorted by what to do about them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from typing import Any

from agent.config import address as addresses
from agent.errors import AwayError, RefusedError

# A server that asks for a client certificate in TLS 1.3 refuses it only after the client is done: its alert, or its
# first frame, comes upon ours. RFC 9113 3.4: preface and an empty SETTINGS.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

# Reasons of OpenSSL, in words. Codes: `openssl verify`, X509_V_ERR_*.
_VERIFY = {
    9: "central's certificate is not valid yet; is this box's clock right?",
    10: "central's certificate has expired; is this box's clock right?",
    18: "the server's certificate is not from central's CA",
    19: "the server's certificate is not from central's CA",
    20: "the server's certificate is not from central's CA",
    21: "the server's certificate is not from central's CA",
    62: "the server is not central: its certificate has another name",
}
_ALERTS = {
    "CERTIFICATE_EXPIRED": "central refuses our certificate: it has expired",
    "CERTIFICATE_REVOKED": "central refuses our certificate: it is revoked",
    "CERTIFICATE_REQUIRED": "central asks for a certificate and got none",
    "CERTIFICATE_UNKNOWN": "central refuses our certificate",
    "BAD_CERTIFICATE": "central refuses our certificate",
    "UNSUPPORTED_CERTIFICATE": "central refuses our certificate: wrong purpose",
    "UNKNOWN_CA": "central refuses our certificate: it doesn't know the CA",
    "ACCESS_DENIED": "central refuses our certificate",
    "PROTOCOL_VERSION": "the server does not speak TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "the server does not speak TLS 1.3",
    "WRONG_VERSION_NUMBER": "the server does not speak TLS",
}


def client_context() -> ssl.SSLContext:
    """TLS 1.3, HTTP/2; trusts nobody yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context


class Peer:
    """The other end of a finished handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def tls(self) -> ssl.SSLObject:
        found: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return found

    def uris(self) -> tuple[str, ...]:
        """URI names of the verified certificate."""
        certificate: dict[str, Any] = dict(self.tls.getpeercert() or {})
        return tuple(value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI")

    async def answers(self) -> bool:
        """Whether the other end goes on after the handshake.

        gRPC's servers just close upon a certificate they refuse; others first send an alert, raised as ssl.SSLError.
        """
        try:
            self._writer.write(_PREFACE)
            await self._writer.drain()
            return bool(await self._reader.read(9))
        except ConnectionError:
            return False


@contextlib.asynccontextmanager
async def handshake(
    address: str, context: ssl.SSLContext, server_name: str, timeout_seconds: float
) -> AsyncGenerator[Peer]:
    """A TLS connection; whatever fails in it, in the body too, leaves as AwayError or RefusedError."""
    host, port = addresses.split(address)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name)
            yield Peer(reader, writer)
    except TimeoutError:
        raise AwayError(f"{address} did not answer within {timeout_seconds:g} s") from None
    except ssl.SSLCertVerificationError as error:
        words = _VERIFY.get(error.verify_code, f"the server's certificate is refused: {error.verify_message}")
        raise RefusedError("PERMISSION_DENIED", f"{address}: {words}") from error
    except ssl.SSLError as error:
        raise alert_error(address, error) from error
    except OSError as error:
        # asyncio raises a ConnectionResetError without words for a connection that ends within the handshake.
        words = error.strerror or str(error) or "it closed the connection during the TLS handshake"
        raise AwayError(f"{address} can't be reached: {words}") from error
    finally:
        if writer is not None:
            writer.transport.abort()


def alert_error(address: str, error: ssl.SSLError) -> RefusedError | AwayError:
    """What a failure of TLS other than verification means. Pure."""
    reason = error.reason or str(error)
    for alert, words in _ALERTS.items():
        if reason.endswith(alert):
            return RefusedError("PERMISSION_DENIED", f"{address}: {words}")
    return AwayError(f"{address}: TLS failed: {reason}")
