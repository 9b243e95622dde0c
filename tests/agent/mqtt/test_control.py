"""The control connection with a real mosquitto: what goes out comes in whole, and a lost broker is a state."""

import asyncio
import contextlib
import signal
import socket

import aiomqtt
import pytest

from agent.clock import system_clock
from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.mqtt.control import Control, LostError, _Client
from agent.mqtt.users import CONTROL
from tests.integration.mqtt_parts import Broker, until


@contextlib.asynccontextmanager
async def running(control):
    async with asyncio.TaskGroup() as group:
        task = group.create_task(control.run())
        try:
            yield control
        finally:
            task.cancel()


def control_of(port):
    return Control(MqttConfig(port=port), CONTROL, "", system_clock(), lambda: 0.1)


@pytest.fixture
async def broker(tmp_path):
    one = Broker(tmp_path)
    await one.start()
    yield one
    one.purge()


@pytest.mark.integration
async def test_what_the_broker_has_retained_comes_where_it_is_wanted_only(broker):
    broker.publish("kept/a", "-r", "-m", "1")
    broker.publish("orders/a", "-r", "-m", "1")
    one = control_of(broker.port)
    kept, orders = [], []
    one.subscribe("orders/+", orders.append)
    one.subscribe("kept/+", kept.append, retained=True)
    async with running(one):
        await until(lambda: bool(kept), "what was retained")
    assert kept[0].topic == "kept/a" and not orders


@pytest.mark.integration
async def test_every_property_arrives_and_each_filter_has_its_own_callback(broker):
    one = control_of(broker.port)
    got, elsewhere = [], []
    one.subscribe("a/+/b", got.append)
    one.subscribe("c/#", elsewhere.append)
    async with running(one):
        await until(lambda: one.connected, "the connection")
        broker.publish("a/x/b", "-V", "5", "-D", "publish", "response-topic", "r", "-D", "publish",
                       "correlation-data", "c", "-D", "publish", "message-expiry-interval", "60", "-D", "publish",
                       "content-type", "text/plain", "-D", "publish", "user-property", "k", "v",
                       "-m", "payload")  # fmt: skip
        broker.publish("c/d", "-m", "2")
        await until(lambda: bool(got and elsewhere), "both messages")
    (delivery,) = got
    assert delivery[:4] == ("a/x/b", b"payload", 1, False)
    assert (delivery.response_topic, delivery.correlation_data, delivery.content_type) == ("r", b"c", "text/plain")
    assert (delivery.user_properties, delivery.expiry_seconds) == ((("k", "v"),), 60)


@pytest.mark.integration
async def test_what_is_published_carries_what_was_asked_for(broker):
    argv = ["mosquitto_sub", "-p", str(broker.port), "-V", "5", "-t", "a/#", "-C", "1", "-F", "%t %p %q %R %D %P %C %r"]
    control = control_of(broker.port)
    async with running(control):
        await until(lambda: control.connected, "the connection")
        await control.publish("a/b", b"payload", retain=True, response_topic="r", correlation_data=b"c",
                              expiry_seconds=60, user_properties=(("k", "v"),), content_type="text/plain")  # fmt: skip
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
    assert out.split()[:2] == [b"a/b", b"payload"]
    for word in (b"r", b"c", b"k:v", b"text/plain", b"1"):
        assert word in out.split()


@pytest.mark.integration
async def test_after_each_reconnection_all_are_called_and_one_that_is_away_hurts_no_other(broker):
    calls: list[str] = []

    async def first():
        calls.append("first")
        raise AwayError("lost meanwhile")

    async def second():
        calls.append("second")

    control = control_of(broker.port)
    control.on_connected += [first, second]
    async with running(control):
        await until(lambda: len(calls) == 2, "the first connection")
        broker.end(signal.SIGKILL)
        await until(lambda: not control.connected, "the loss")
        with pytest.raises(AwayError):
            await control.publish("a", b"")
        await broker.start()
        await until(lambda: len(calls) == 4, "the second connection")
    assert calls == ["first", "second"] * 2


async def test_a_broker_that_goes_while_it_is_told_may_have_it_or_not():
    """A broker of the test's own: it says CONNACK and SUBACK, and then nothing."""
    published = asyncio.Event()

    async def serve(reader, writer):
        await reader.read(4096)
        writer.write(bytes([0x20, 3, 0, 0, 0]))
        await reader.read(4096)
        published.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    control = control_of(server.sockets[0].getsockname()[1])
    async with server, running(control):
        await until(lambda: control.connected, "the connection")
        with pytest.raises(LostError):
            await control.publish("a", b"x")
        assert published.is_set()


async def test_a_broker_that_is_away_is_said_once(caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with running(control_of(free.getsockname()[1])):
            async with asyncio.timeout(10):
                while "no control connection" not in caplog.text:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
    assert caplog.text.count("no control connection") == 1


class _Paho:
    """What is left to write, and how often it was tried."""

    def __init__(self, wanted: bool) -> None:
        self.wanted, self.tried = wanted, 0

    def want_write(self) -> bool:
        return self.wanted

    def loop_write(self) -> None:
        self.tried += 1


@pytest.mark.parametrize(("closed", "wanted", "watched"), [(False, True, 1), (True, True, 0), (False, False, 0)])
async def test_only_an_open_socket_with_something_to_write_is_watched(closed, wanted, watched):
    loop, faults = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: faults.append(context["message"]))
    near, far = socket.socketpair()
    paho, client = _Paho(wanted), _Client("127.0.0.1")
    number = near.fileno()
    client._on_socket_register_write(paho, None, near)
    if closed:
        near.close()  # between paho's word and the loop's next turn
    for _ in range(4):  # turns: paho's word, the selector, the write
        await asyncio.sleep(0)
    assert (loop.remove_writer(number), min(paho.tried, 1)) == (bool(watched), watched)
    assert faults == []
    near.close()
    far.close()


@pytest.mark.integration
async def test_it_ends_when_cancelled_also_if_leaving_the_broker_fails(broker, monkeypatch):
    leave = _Client.__aexit__

    async def fail(self, *why):
        await leave(self, *why)
        raise aiomqtt.MqttError("lost while it was left")

    monkeypatch.setattr(_Client, "__aexit__", fail)
    control = control_of(broker.port)
    task = asyncio.ensure_future(control.run())
    await until(lambda: control.connected, "the connection")
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


@pytest.mark.integration
@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_just_when_the_broker_has_it_is_cancelled(broker, monkeypatch, fails):
    control = control_of(broker.port)
    answer = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(_Client, "publish", lambda *_, timeout, **__: asyncio.wait_for(answer, timeout))
    async with running(control):
        await until(lambda: control.connected, "the connection")
        task = asyncio.ensure_future(control.publish("a", b""))
        while not control._publishing:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        answer.set_exception(aiomqtt.MqttError("lost")) if fails else answer.set_result(None)
        task.cancel()
        await asyncio.wait([task], timeout=5)
    assert task.cancelled()
