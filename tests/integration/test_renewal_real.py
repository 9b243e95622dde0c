"""A device renews its certificate over MQTT, in a whole store: its own request in, a chain that is good out."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.broker_files import Certificate
from tests.stack import Stack, running, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(120)]


class Gate:
    """A device on its certificate, as one that renews by itself."""

    def __init__(self, own: Certificate, *, user: str = "", password: str = "", port: int = 0) -> None:
        self._told, self._granted = threading.Event(), threading.Event()
        self.payload, self.content_type = b"", ""
        self._client = Client(CallbackAPIVersion.VERSION2, own.device, protocol=MQTTProtocolVersion.MQTTv5)
        context = ssl.create_default_context(cafile=str(own.ca))
        if user:
            self._client.username_pw_set(user, password)
        else:
            context.load_cert_chain(own.certificate, own.key)
        self._client.tls_set_context(context)
        self._client.on_message = self._heard
        self._client.on_subscribe = lambda *_: self._granted.set()
        self._client.connect("localhost", port or own.port)
        self._client.loop_start()
        self._device = user or own.device
        self._client.subscribe(f"devices/{self._device}/cmd/+", 1)
        assert self._granted.wait(10)

    def ask(self, request: bytes) -> None:
        self._client.publish(f"devices/{self._device}/csr", request, 1).wait_for_publish(10)

    def told(self) -> bool:
        return self._told.wait(20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _heard(self, _client: Any, _data: Any, message: MQTTMessage) -> None:
        if message.topic.endswith("/cmd/certificate"):
            properties: Any = message.properties  # what there is of it depends on the message
            self.payload, self.content_type = bytes(message.payload), properties.ContentType
            self._told.set()


@pytest.fixture(scope="module")
def store() -> Iterator[Stack]:
    with running() as stack:
        yield stack


def openssl(*words: str | Path) -> str:
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True, timeout=30).stdout


def request(directory: Path, device: str, form: str = "PEM") -> tuple[bytes, Path]:
    """The request, and the new key, which stays here."""
    key, csr = directory / "new.key", directory / "new.csr"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-new", *curve, "-keyout", key, "-subj", f"/CN={device}", "-outform", form, "-out", csr)
    return csr.read_bytes(), key


def lets_in(own: Certificate) -> bool:
    """Whether the broker takes a message from whoever has it."""
    words = ("-V", "5", "-q", "1", "-t", f"devices/{own.device}/state", "-m", "on")
    done = subprocess.run(
        ["mosquitto_pub", "-h", "localhost", *own.words, *words], capture_output=True, text=True, timeout=30
    )
    return done.returncode == 0 and "Not authorized" not in done.stderr


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_a_device_gets_a_new_certificate_over_the_connection_of_its_old_one(
    store: Stack, tmp_path: Path, form: str
) -> None:
    old = store.device_certificate(f"gate-{form}")
    asked, key = request(tmp_path, old.device, form)
    gate = Gate(old)
    try:
        gate.ask(asked)
        assert gate.told() and gate.content_type == "application/pem-certificate-chain"
    finally:
        gate.close()
    chain = tmp_path / "new.crt"
    chain.write_bytes(gate.payload)
    assert gate.payload.count(b"BEGIN CERTIFICATE") == 2
    assert chain.name in openssl("verify", "-purpose", "sslclient", "-CAfile", old.ca, chain)
    assert f"CN = {old.device}" in openssl("x509", "-in", chain, "-noout", "-subject")
    assert openssl("x509", "-in", chain, "-noout", "-pubkey") == openssl("pkey", "-in", key, "-pubout")
    new = Certificate(old.device, old.port, chain, key, old.ca)
    assert lets_in(new) and lets_in(old)  # so that a renewal cut off half-way locks nobody out
    store.agent_cli("device", "revoke", old.device)
    assert not lets_in(new) and not lets_in(old)


def test_who_may_not_have_one_gets_none_and_that_is_logged(store: Stack, tmp_path: Path) -> None:
    """With a password; in the name of another; with what is no request; again at once."""
    own, password = store.device_certificate("door"), store.device("scale")
    log = store.parts["agent"].log

    def said(device: str, reason: str) -> bool:
        return any("not renewed" in line and device in line and reason in line for line in log.read_text().splitlines())

    scale = Gate(own, user="scale", password=password.password, port=store.broker.ports.passwords)
    door = Gate(own)
    try:
        scale.ask(request(tmp_path, "scale")[0])
        until(lambda: said("scale", "no certificate to renew"), what="the device with a password to be refused")
        door.ask(b"-----BEGIN nonsense")
        until(lambda: said("door", "no certificate request"), what="nonsense to be refused")
        door.ask(request(tmp_path, "scale")[0])
        until(lambda: said("door", "scale"), what="another's name to be refused")
        door.ask(request(tmp_path, "door")[0])
        until(lambda: said("door", "again within"), what="who asks again to be refused")
        assert not door.payload and not scale.payload
    finally:
        scale.close()
        door.close()
    assert lets_in(own)
