"""docs/TENANTS.md, its program for a job at the broker, run as it stands there at the socket that jobs are given."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.mqtt import tenants
from agent.mqtt.access.accounts import Account
from agent.spec import MqttGrant, MqttView
from tests.integration.tenant_parts import WITNESS, TenantBroker, TenantClient, access

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
SECRET = b"t" * 32
PAGE = (Path(__file__).parents[2] / "docs/TENANTS.md").read_text()
VIEW = MqttView("acme.feed.1", "acme", "feed", (MqttGrant("temp-1", channel="temperature"),))
# What a run finds: /run of its own, with its secrets.
IN_A_RUN = 'mount -t tmpfs none /run && mkdir /run/secrets && cp "$0"/* /run/secrets/ && exec "$@"'


@pytest.fixture
def broker() -> Iterator[TenantBroker]:
    one = TenantBroker()
    try:
        one.start(access(SECRET, [Account("temp-1")], [VIEW]))
        yield one
    finally:
        one.purge()


def test_the_program_for_a_job_hears_its_device(broker: TenantBroker, tmp_path: Path) -> None:
    (program,) = re.findall(r"^```py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "mqtt_username").write_text(tenants.username(VIEW.run))
    (secrets / "mqtt_password").write_text(tenants.password(SECRET, VIEW.tenant, VIEW.run))
    witness = TenantClient(broker, WITNESS, WITNESS)
    witness.answer(witness.publish("devices/temp-1/temperature", b"4.2", retain=True))
    running = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", IN_A_RUN, str(secrets), sys.executable, "-u", "-c", program],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "EDGE_MQTT_SOCKET": str(broker.socket)},
    )  # fmt: skip
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "devices/temp-1/temperature b'4.2'\n"
        witness.answer(witness.publish("devices/temp-1/temperature", b"4.3"))
        assert running.stdout.readline() == "devices/temp-1/temperature b'4.3'\n"
    finally:
        running.kill()
        running.communicate()
        witness.close()
