"""The node's signature under a text, by its present identity key. For the usage seals."""

import base64
import json
import ssl
from pathlib import Path

from agent.errors import AwayError, StorageError
from agent.identity import child

_CHILD = Path(__file__).with_name("keychild.py")


async def sign(directory: Path, text: bytes, secret: bytes = b"") -> tuple[bytes, bytes]:
    """(certificate in DER, signature): ECDSA P-256 with SHA-256, DER, by the key that the certificate is for.

    `directory` is Identity.directory of the identity in force at this moment (LinkService.identity.directory: it
    changes at renewal, so ask anew for each signature); `secret` opens its key if that is locked. Raises StorageError,
    AwayError, RefusedError.
    """
    try:
        chain = (directory / "chain.pem").read_text(encoding="ascii")
        certificate = ssl.PEM_cert_to_DER_cert(chain[: chain.index("-----END CERTIFICATE-----") + 25] + "\n")
    except (OSError, ValueError) as error:
        raise StorageError(f"{directory / 'chain.pem'}: {error}") from error
    key_file = str(directory / "key.pem")
    try:
        asked = json.dumps({"secret": secret.decode(), "text": base64.b64encode(text).decode()}).encode()
        return certificate, await child.ask(_CHILD, asked, "sign", key_file, refusal="the key can't sign")
    except RuntimeError as error:  # a seal can wait; the jobs that it is about can't
        raise AwayError(str(error)) from error
