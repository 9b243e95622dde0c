"""Renewal over MQTT: who gets a certificate, who doesn't, and what the device is sent."""

import asyncio
import base64
from collections.abc import Sequence
from ssl import DER_cert_to_PEM_cert

import pytest

from agent.errors import RefusedError
from agent.model import Credential
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.renewal import Renewals, der
from agent.mqtt.wire.delivery import Delivery
from agent.orders import DeviceIdentity, DeviceOrder, IssuedDevices, NewCredential
from tests.fakes.mqtt_parts import FakeTime

CSR = b"\x30\x03abc"
ACCOUNTS = {
    "lock": Account("lock", credential=Credential.CERTIFICATE),
    "lamp": Account("lamp", credential=Credential.PASSWORD),
}


class Shop:
    """Renewals, with what they ask of others."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.orders: list[DeviceOrder] = []
        self.sent: list[tuple[str, bytes]] = []
        self.refuse: Exception | None = None
        self.renewals = Renewals(ACCOUNTS.get, self.put, self.publish, self.time.clock())

    async def put(self, orders: Sequence[DeviceOrder]) -> IssuedDevices:
        self.orders += orders
        if self.refuse is not None:
            raise self.refuse
        return IssuedDevices((DeviceIdentity(orders[0].device, b"new"),), b"ca", in_force=True)

    async def publish(self, topic: str, payload: bytes, *, content_type: str, expiry_seconds: int) -> None:
        self.sent.append((topic, payload))

    async def settle(self) -> None:
        task = asyncio.create_task(self.renewals.run())
        for _ in range(20):  # nothing that it awaits takes longer than a turn of the loop
            await asyncio.sleep(0)
        task.cancel()


def request(device: str, payload: bytes = CSR, *, retained: bool = False) -> Delivery:
    return Delivery(f"devices/{device}/csr", payload, 1, retained, False, 1)


async def test_a_device_with_a_certificate_is_sent_the_next_one() -> None:
    shop = Shop()
    shop.renewals.offer(request("lock"))
    await shop.settle()
    assert shop.orders == [DeviceOrder("lock", credential=NewCredential.CSR, csr_der=CSR)]
    chain = DER_cert_to_PEM_cert(b"new") + DER_cert_to_PEM_cert(b"ca")
    assert shop.sent == [("devices/lock/cmd/certificate", chain.encode())]


@pytest.mark.parametrize(
    "offered",
    [
        request("lamp"),  # it has a password
        request("ghost"),
        request("lock", b""),
        request("lock", bytes(4097)),
        request("lock", b"-----BEGIN CERTIFICATE REQUEST-----\n???\n-----END CERTIFICATE REQUEST-----"),
        request("lock", retained=True),
    ],
)
async def test_nobody_else_and_nothing_else_is_heard(offered: Delivery) -> None:
    shop = Shop()
    shop.renewals.offer(offered)
    await shop.settle()
    assert (shop.orders, shop.sent) == ([], [])


async def test_a_device_is_heard_once_a_minute() -> None:
    shop = Shop()
    for _ in range(2):
        shop.renewals.offer(request("lock"))
    shop.time.pass_seconds(60)
    shop.renewals.offer(request("lock"))
    await shop.settle()
    assert len(shop.orders) == 2


@pytest.mark.parametrize("why", [RefusedError("BAD_REQUEST", "its key is too short"), RuntimeError("ended with 1")])
async def test_a_refused_request_ends_nothing(why: Exception) -> None:
    """Nor does one that the child process stumbled over: any device can write it."""
    shop = Shop()
    shop.refuse = why
    shop.renewals.offer(request("lock"))
    await shop.settle()
    shop.refuse = None
    shop.time.pass_seconds(60)
    shop.renewals.offer(request("lock"))
    await shop.settle()
    assert len(shop.sent) == 1


def test_pem_and_der_are_the_same_request() -> None:
    text = f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.b64encode(CSR).decode()}\n-----END CERTIFICATE REQUEST-----\n"
    assert der(text.encode()) == der(CSR) == CSR
