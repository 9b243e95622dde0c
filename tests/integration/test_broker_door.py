"""The broker's doors to the store's network as the unit leaves them: strangers who hold connections keep nobody out."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agent.mqtt.access import seed
from agent.mqtt.access.policy import Access
from agent.mqtt.access.secret import load_or_make
from tests.integration.mqtt_parts import until
from tests.integration.test_device_identity import Box
from tests.netns import LAN, STORE_LAN, Store, store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
UNIT = Path(__file__).parents[2] / "systemd/mosquitto.service.d/edge-agent.conf"
PORT, MOST = 8884, 256
ANOTHER = "192.168.50.9"


def rules() -> str:
    """What the unit has nft do, as systemd reads it."""
    found = re.search(r"^ExecStartPre=-/usr/sbin/nft '(.*?)'$", UNIT.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1].replace("\\\n", " ")


@contextmanager
def broker(box: Box, there: Store) -> Iterator[None]:
    """mosquitto at the store's own address, with the ports that ship."""
    ports = box.files.ports
    text = box.files.conf.read_text()
    for ours, shipped in ((ports.certificates, 8883), (ports.passwords, PORT)):
        text = text.replace(f"listener {ours} 127.0.0.1", f"listener {shipped}")
    box.files.conf.write_text(text)
    there.home.run("nft", rules())
    there.home.run("nft", rules())  # at each start of the broker
    process = subprocess.Popen(
        ["nsenter", f"--net={there.home.path}", "--", *box.files.argv], stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def connected(there: Store, address: str = LAN) -> socket.socket | None:
    connection = there.lan.open()
    connection.bind((address, 0))
    try:
        connection.connect((STORE_LAN, PORT))
    except ConnectionRefusedError:
        connection.close()
        return None
    return connection


def handshake(there: Store, address: str, ca: Path) -> bool:
    connection = connected(there, address)
    if connection is None:
        return False
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    with context.wrap_socket(connection) as secured:
        return secured.version() is not None


@pytest.fixture
def directory() -> Iterator[Path]:
    """Below pytest's own only its owner may search; the broker gives up root."""
    made = Path(tempfile.mkdtemp(prefix="door-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


async def test_half_open_connections_of_one_address_keep_out_nobody_else(directory: Path) -> None:
    box = Box(directory)
    await box.gate.open()
    await box.identities.ensure_ca()
    box.files.install(seed.document(Access(load_or_make(directory), {}, {}, frozenset())))
    ca = box.files.dir / "ca.crt"
    with store() as there, broker(box, there), ExitStack() as open_:
        there.lan.run("ip", "address", "add", f"{ANOTHER}/24", "dev", "eth0")
        await until(lambda: handshake(there, LAN, ca), "mosquitto to listen")
        held = [one for _ in range(MOST + 50) if (one := connected(there)) is not None]
        for one in held:
            open_.callback(one.close)
        assert len(held) == MOST
        assert connected(there) is None
        assert handshake(there, ANOTHER, ca)
        for one in held:
            one.close()
        await until(lambda: handshake(there, LAN, ca), "its connections to be forgotten")
    await box.gate.close()
