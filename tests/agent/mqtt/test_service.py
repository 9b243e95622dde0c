"""The service as a whole, as far as it goes without a broker."""

import asyncio
import socket

import pytest

from agent.config.schema import MqttConfig
from agent.errors import CorruptError, RefusedError
from agent.mqtt.service import MqttService
from agent.orders import CommandOrder, DeviceOrder
from agent.runtime.notify import KeptSockets
from agent.spec import DeviceRule
from tests.fakes.mqtt_parts import FakeSink, FakeTime


@pytest.fixture
def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]  # bound, not listening: connecting is refused


def service(tmp_path, **config):
    return MqttService(MqttConfig(**config), tmp_path, FakeSink(), FakeTime().clock(), lambda: 0.0, KeptSockets())


async def test_disabled_it_beats_and_waits_for_the_end(tmp_path):
    stop, beaten = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(service(tmp_path, enabled=False).run(stop, beaten.set))
        await beaten.wait()
        stop.set()
    assert list(tmp_path.iterdir()) == []


async def test_a_broker_that_is_away_is_a_state_and_not_an_end(tmp_path, closed_port, caplog):
    stop, beaten = asyncio.Event(), asyncio.Event()
    mqtt = service(tmp_path, port=closed_port)
    async with asyncio.TaskGroup() as group:
        group.create_task(mqtt.run(stop, beaten.set))
        await beaten.wait()
        while "broker is away" not in caplog.text:
            await asyncio.sleep(0.01)
        assert not mqtt.connected
        await mqtt._down.commands.opened()
        with pytest.raises(RefusedError) as refused:
            await mqtt.send_command(CommandOrder("local:uid=0", "d", "open", b"", 1.0))
        assert refused.value.reason == "NOT_FOUND"
        stop.set()
    assert caplog.text.count("broker is away") == 1


@pytest.mark.parametrize("file", ["held.db", "accounts.db"])
async def test_a_disk_that_refuses_at_the_start_is_waited_for(tmp_path, closed_port, caplog, monkeypatch, file):
    monkeypatch.setattr("agent.mqtt.service._BEAT_SECONDS", 0.01)
    (tmp_path / file).mkdir()  # no database can be opened there
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(service(tmp_path, port=closed_port).run(stop, lambda: None))
        while caplog.text.count("devices can't be served yet") < 2:
            await asyncio.sleep(0.01)
        assert "broker is away" not in caplog.text
        (tmp_path / file).rmdir()
        while "broker is away" not in caplog.text:
            await asyncio.sleep(0.01)
        stop.set()


async def test_without_a_broker_no_device_gets_an_identity(tmp_path):
    mqtt = service(tmp_path, enabled=False)
    for asked in (mqtt.put_devices([DeviceOrder("d")], False), mqtt.revoke_device("d", False)):
        with pytest.raises(RefusedError) as refused:
            await asked
        assert refused.value.reason == "UNIMPLEMENTED"


def test_a_secret_that_is_broken_is_not_replaced(tmp_path):
    (tmp_path / "mqtt-secret").write_bytes(b"short")
    with pytest.raises(CorruptError, match="mqtt-secret has 5 bytes"):
        service(tmp_path)
    assert (tmp_path / "mqtt-secret").read_bytes() == b"short"


def test_a_bad_rule_leaves_the_old_rules_in_force(tmp_path):
    mqtt = service(tmp_path)
    mqtt.apply_rules((DeviceRule("devices/cam/#", forward=False),))
    with pytest.raises(RefusedError):
        mqtt.apply_rules((DeviceRule("devices/#"), DeviceRule("devices/+x")))
    assert mqtt._rules.find("devices/cam/x").spec.forward is False
    assert mqtt._rules.find("devices/d/x") is None
