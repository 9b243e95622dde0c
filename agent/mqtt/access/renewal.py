"""A device renews its certificate over the connection that its present one has opened: the broker knows who asks.

It publishes a request (PKCS #10, PEM or DER) with its new key on devices/<id>/csr, and is sent the command
`certificate` with the chain in PEM: the same as any command, answered on its `ack` if it likes.
"""

import asyncio
import base64
import binascii
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from ssl import DER_cert_to_PEM_cert
from typing import Protocol

from agent.clock import Clock
from agent.errors import EdgeError
from agent.model import Credential
from agent.mqtt.access.accounts import Account
from agent.mqtt.topics import command_topic, parse
from agent.mqtt.wire.delivery import Delivery
from agent.orders import DeviceOrder, IssuedDevices, NewCredential

log = logging.getLogger(__name__)

FILTER = "devices/+/csr"
COMMAND = "certificate"
MAX_CSR_BYTES = 4096
# A certificate costs a child process of a second. A device that is told nothing asks again.
_REST_SECONDS = 60.0
_MAX_WAITING = 64
_MAX_REMEMBERED = 4096
_EXPIRY_SECONDS = 86_400


class Publish(Protocol):
    """agent.mqtt.control.Control.publish."""

    def __call__(self, topic: str, payload: bytes, *, content_type: str, expiry_seconds: int) -> Awaitable[None]: ...


class Renewals:
    """`offer` takes what comes on FILTER; `run` issues, one after the other, until it is cancelled."""

    def __init__(
        self,
        account: Callable[[str], Account | None],
        put: Callable[[Sequence[DeviceOrder]], Awaitable[IssuedDevices]],
        publish: Publish,
        clock: Clock,
    ) -> None:
        self._account, self._put, self._publish, self._clock = account, put, publish, clock
        self._waiting = asyncio.Queue[DeviceOrder](_MAX_WAITING)
        self._asked: OrderedDict[str, float] = OrderedDict()

    def offer(self, delivery: Delivery) -> None:
        """Who has no certificate, asks too often or sends no request is refused, and that is said."""
        where = parse(delivery.topic)
        if where is None or delivery.retained:
            return
        why = self._refusal(where.device, delivery.payload)
        if not why:
            self._note(where.device)
            order = DeviceOrder(where.device, credential=NewCredential.CSR, csr_der=der(delivery.payload))
            try:
                self._waiting.put_nowait(order)
            except asyncio.QueueFull:
                why = "too many ask at once"
        if why:
            log.warning("certificate not renewed", extra={"device": where.device, "reason": why})

    async def run(self) -> None:
        while True:
            order = await self._waiting.get()
            try:
                issued = await self._put([order])
                chain = DER_cert_to_PEM_cert(issued.identities[0].certificate_der) + DER_cert_to_PEM_cert(issued.ca_der)
                await self._publish(
                    command_topic(order.device, COMMAND),
                    chain.encode(),
                    content_type="application/pem-certificate-chain",
                    expiry_seconds=_EXPIRY_SECONDS,
                )
            except (EdgeError, RuntimeError) as error:  # the latter: a request that ended the child process
                log.warning("certificate not renewed", extra={"device": order.device, "reason": error})
            else:
                log.info("certificate renewed", extra={"device": order.device})

    def _refusal(self, device: str, payload: bytes) -> str:
        account = self._account(device)
        if account is None or account.credential is not Credential.CERTIFICATE:
            return "it has no certificate to renew"
        if self._clock.seconds() - self._asked.get(device, -_REST_SECONDS) < _REST_SECONDS:
            return f"asked again within {_REST_SECONDS:.0f} s"
        if not 0 < len(payload) <= MAX_CSR_BYTES or not der(payload):
            return f"no certificate request in PEM or DER of at most {MAX_CSR_BYTES} bytes"
        return ""

    def _note(self, device: str) -> None:
        self._asked[device] = self._clock.seconds()
        self._asked.move_to_end(device)
        if len(self._asked) > _MAX_REMEMBERED:
            self._asked.popitem(last=False)


def der(request: bytes) -> bytes:
    """What is between the lines of PEM (RFC 7468), anything else as it is; empty when that is no base64."""
    if not request.lstrip().startswith(b"-----BEGIN "):
        return request
    lines = [line.strip() for line in request.strip().splitlines()]
    try:
        return base64.b64decode(b"".join(line for line in lines if not line.startswith(b"-----")), validate=True)
    except binascii.Error:
        return b""
