"""The store's own device CA, by way of a child process that alone imports cryptography (docs/decisions/0071)."""

import base64
import json
import logging
import re
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from agent.clock import Clock
from agent.errors import StorageError
from agent.fsio import write_atomic
from agent.identity import child

log = logging.getLogger(__name__)

# A file, not a module name: works from a checkout on PYTHONPATH too, which -I ignores.
_CHILD = Path(__file__).with_name("ca_child.py")

# Ends of runs' and containers' networks come and go, and no device of the store is behind them.
_NOT_THE_STORES = re.compile(r"lo|ej[0-9a-f].*|veth.*|docker.*|podman.*|cni.*")
_DNS_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Names:
    """What devices may call the broker."""

    dns: tuple[str, ...]
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the broker runs with. `changed`: a file was written, and the broker was told to read them again."""

    ca_der: bytes
    server_not_after_unix_nano: int
    changed: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """A certificate for a device. Without `csr_der` the key is made here, handed out once, and not kept."""

    device: str
    csr_der: bytes
    days: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """`serial` is hexadecimal, without leading zeros. `key_der` is PKCS #8."""

    der: bytes
    serial: str
    not_after_unix_nano: int
    key_der: bytes = field(default=b"", repr=False)


class DeviceCa:
    """Key and CA certificate are in `state_dir`/device-ca; what the broker reads is in `broker_dir`.

    Every method raises StorageError, AwayError (no child process to be had), and RefusedError(BAD_REQUEST) when the
    CA's key is broken: it is not replaced by itself, as every device would need a new certificate.
    """

    def __init__(self, state_dir: Path, broker_dir: Path, clock: Clock) -> None:
        self._home, self._broker_dir, self._clock = state_dir / "device-ca", broker_dir, clock

    async def ensure(self, revoked: Collection[str], names: Names | None = None) -> Standing:
        """Make what is missing, mend what is broken, renew the broker's certificate when it is time or names are new.

        `revoked` are the serials the CRL must list. At every start, and once a day.
        """
        chosen = names or names_of_this_box()
        asked = {"dns": chosen.dns, "addresses": chosen.addresses, "revoked": sorted(revoked)}
        answer = await self._ask("ensure", asked)
        standing = Standing(
            base64.b64decode(answer["ca"]), answer["server_not_after_unix_nano"], changed=answer["changed"]
        )
        if standing.changed:
            self.reload()
        return standing

    async def check(self, wishes: Sequence[Wish]) -> None:
        """Raises RefusedError(BAD_REQUEST) that names the first device whose request is no good."""
        await self._ask("check", {"wishes": list(map(_wish, wishes))})

    async def issue(self, wishes: Sequence[Wish]) -> tuple[bytes, tuple[Certificate, ...]]:
        """The CA's certificate, and one for each wish, in order; at most a few hundred at once.

        Raises RefusedError(BAD_REQUEST) as `check` does; then none is issued.
        """
        answer = await self._ask("issue", {"wishes": list(map(_wish, wishes))})
        return base64.b64decode(answer["ca"]), tuple(map(_certificate, answer["certificates"]))

    async def revoke(self, serials: Collection[str]) -> None:
        """The CRL lists exactly these, and the broker is told to read it again."""
        await self._ask("crl", {"revoked": sorted(serials)})
        self.reload()

    async def _ask(self, verb: str, asked: dict[str, Any]) -> dict[str, Any]:
        stdin = json.dumps({**asked, "now_unix_nano": self._clock.wall_nano()}).encode()
        answer: dict[str, Any] = json.loads(
            await child.ask(_CHILD, stdin, verb, str(self._home), str(self._broker_dir), refusal="the device CA")
        )
        return answer

    def reload(self) -> None:
        """A .path unit watches this file: the broker reads its certificates and the CRL again, and saves its state.

        Raises StorageError.
        """
        path = self._broker_dir / "reload"
        try:
            write_atomic(path, f"{self._clock.wall_nano()}\n".encode(), mode=0o640)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error


def names_of_this_box() -> Names:
    """Its host name, the same for mDNS, loopback, and the addresses of the store's networks."""
    host = socket.gethostname().split(".")[0]
    named = (host, f"{host}.local", "localhost") if _DNS_NAME.fullmatch(host) else ("localhost",)
    addresses = {
        address.address
        for interface, found in psutil.net_if_addrs().items()
        if not _NOT_THE_STORES.fullmatch(interface)
        for address in found
        # A link-local IPv6 address carries its interface's name, and no certificate can.
        if address.family in (socket.AF_INET, socket.AF_INET6) and "%" not in address.address
    }
    return Names(tuple(dict.fromkeys(named)), ("127.0.0.1", "::1", *sorted(addresses)))


def _wish(wish: Wish) -> dict[str, Any]:
    return {"device": wish.device, "csr": base64.b64encode(wish.csr_der).decode(), "days": wish.days}


def _certificate(answer: dict[str, Any]) -> Certificate:
    return Certificate(
        base64.b64decode(answer["certificate"]),
        answer["serial"],
        answer["not_after_unix_nano"],
        base64.b64decode(answer["key"]),
    )
