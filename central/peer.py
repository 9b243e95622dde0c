"""Who is calling: exactly one SPIFFE id, over TLS 1.3."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from central.authority import serial_text, unix_nano
from central.names import BadNameError, NodeName, OperatorName, parse_id
from central.refusal import refused


@dataclass(frozen=True, slots=True)
class Peer:
    id: str
    name: NodeName | OperatorName
    serial: str
    not_after_unix_nano: int
    public_key_der: bytes


def check_tls(auth: Mapping[str, Iterable[bytes]]) -> None:
    """Raises RefusedError(TLS_VERSION). gRPC's Python servers can't be told a lowest version: it is asked for here."""
    version = b"".join(auth.get("ssl_tls_version", ())).decode()
    if version != "TLSv1.3":
        raise refused("TLS_VERSION", f"TLS 1.3 is required, this is {version or 'not TLS'}")


def identify(auth: Mapping[str, Iterable[bytes]], domain: str) -> Peer:
    """The caller behind a verified certificate. Raises RefusedError: TLS_VERSION, IDENTITY_INVALID."""
    check_tls(auth)
    ids = [raw.decode(errors="replace") for raw in auth.get("peer_spiffe_id", ())]
    if len(ids) != 1:
        raise refused("IDENTITY_INVALID", f"the certificate must hold exactly one SPIFFE id, this holds {len(ids)}")
    try:
        name = parse_id(domain, ids[0])
    except BadNameError as error:
        raise refused("IDENTITY_INVALID", str(error)) from error
    certificate = x509.load_pem_x509_certificate(b"".join(auth.get("x509_pem_cert", ())))
    return Peer(
        ids[0],
        name,
        serial_text(certificate),
        unix_nano(certificate.not_valid_after_utc),
        public_key_der(certificate.public_key()),
    )


def public_key_der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def address(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """Where a caller without a name calls from."""
    return str(context.peer())[:200]
