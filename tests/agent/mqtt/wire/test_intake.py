"""One connection with a broker of a few lines: what it wrote is delivered, what we say goes out in order."""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import asynccontextmanager

import pytest

from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.mqtt.wire import intake as module
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.wire.intake import connect
from tests.fakes.mqtt_packets import packet, properties, publish

PRESENT, NEW = packet(0x20, b"\1\0\0"), packet(0x20, b"\0\0\0")
GRANTED = packet(0x90, b"\0\1\0\2\2")


class Broker:
    """Accepts one connection, and says what the test says."""

    def __init__(self, connack=PRESENT, suback=GRANTED):
        self.connack, self.suback = connack, suback
        self.delivered, self.reads, self.sessions_lost = [], [], 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.config = MqttConfig(port=self._listening.getsockname()[1])

    def deliver(self, intake, deliveries, size_bytes):
        self.delivered += deliveries
        self.reads.append(size_bytes)

    def session_lost(self):
        self.sessions_lost += 1
        assert self.delivered == []

    @asynccontextmanager
    async def talk(self):
        """(intake, the broker's socket); the subscription stands."""
        loop = asyncio.get_running_loop()
        self._listening.setblocking(False)
        greeting = asyncio.ensure_future(self._greet(loop))
        try:
            link = connect(self.config, "edge-agent", "secret", ("a/#", "b/#"), self.deliver, self.session_lost)
            async with link as intake:
                yield intake, await greeting
        finally:
            greeting.cancel()
            self._listening.close()

    async def _greet(self, loop):
        self.sock, _ = await loop.sock_accept(self._listening)
        self.hello = await loop.sock_recv(self.sock, 1000)
        await loop.sock_sendall(self.sock, self.connack)
        self.subscribed = await loop.sock_recv(self.sock, 1000)
        await loop.sock_sendall(self.sock, self.suback)
        return self.sock

    async def said(self, count):
        found = bytearray()
        async with asyncio.timeout(10):
            while len(found) < count:
                found += await asyncio.get_running_loop().sock_recv(self.sock, count - len(found))
        return found

    async def kernel_has_sent(self):
        """All of it is in the other's receive buffer."""
        while struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)))[0]:
            await asyncio.sleep(0)

    def reset(self):
        """What a killed broker leaves, when it had not read all of ours."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


async def lost(intake):
    with pytest.raises(AwayError) as why:
        async with asyncio.timeout(5):
            await intake.lost()
    return str(why.value)


async def test_messages_are_delivered_by_the_read_and_acknowledged_when_told():
    broker = Broker()
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", b"1", packet_id=1) + publish("a/b", b"2", packet_id=2, qos=2))
        while len(broker.delivered) < 2:
            await asyncio.sleep(0)
        assert sum(broker.reads) == len(publish("a/b", b"1")) * 2
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        intake.acknowledge(broker.delivered)
        assert await broker.said(8) == b"\x40\2\0\1\x50\2\0\2"
        await asyncio.get_running_loop().sock_sendall(sock, b"\x62\2\0\2")
        assert await broker.said(4) == b"\x70\2\0\2"
    assert await broker.said(2) == b"\xe0\0"
    assert b"edge-agent" in broker.hello and b"secret" in broker.hello
    assert b"a/#" in broker.subscribed and b"b/#" in broker.subscribed
    broker.sock.close()


@pytest.mark.parametrize(("connack", "times"), [(PRESENT, 0), (NEW, 1)])
async def test_a_session_that_the_broker_does_not_know_is_told_before_its_messages(connack, times):
    broker = Broker(connack + publish("a/b", b"first"))
    async with broker.talk():
        assert broker.sessions_lost == times
        assert [each.payload for each in broker.delivered] == [b"first"]
    broker.sock.close()


@pytest.mark.parametrize(
    ("connack", "suback", "why"),
    [
        (packet(0x20, b"\0\x87\0"), b"", "not authorized"),
        (packet(0x20, b"\0\xf0\0"), b"", "reason 0xf0"),
        (PRESENT, packet(0x90, b"\0\1\0\2\x87"), "b/#: not authorized"),
        (PRESENT, packet(0x90, b"\0\1\0\2"), "number of filters"),
        (b"\0\0", b"", "not MQTT 5"),
    ],
)
async def test_a_broker_that_refuses_is_quoted(connack, suback, why):
    broker = Broker(connack, suback)
    with pytest.raises(AwayError, match=why):
        async with broker.talk():
            raise AssertionError("it was let in")
    broker.sock.close()


async def test_nobody_there_is_away():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        config = MqttConfig(port=unused.getsockname()[1])
    with pytest.raises(AwayError, match="111"):
        async with connect(config, "u", "p", ("a",), lambda *_: None, lambda: None):
            raise AssertionError("connected to nothing")


async def test_a_broker_that_accepts_and_says_nothing_is_away(monkeypatch):
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 0.05)
    broker = Broker()
    with pytest.raises(AwayError, match="no answer"):
        async with connect(broker.config, "u", "p", ("a",), broker.deliver, broker.session_lost):
            raise AssertionError("connected to nothing")
    broker._listening.close()


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("reset", [False, True])
async def test_what_was_written_before_the_broker_died_is_delivered_to_the_last_byte(paused, reset):
    broker = Broker()
    async with broker.talk() as (intake, sock):
        if paused:
            intake.pause()
        else:
            sock.sendall(publish("a/b", b"seen"))
            while not broker.delivered:
                await asyncio.sleep(0)
        sock.setblocking(False)
        whole = b"".join(publish("a/b", b"%d" % n, packet_id=n) for n in range(1, 5001))
        await asyncio.get_running_loop().sock_sendall(sock, whole)
        intake.acknowledge([Delivery("a/b", b"", 1, False, False, 7)])  # unread there: the end becomes a reset
        await broker.kernel_has_sent()
        broker.reset() if reset else sock.close()
        for _ in range(50):  # writes fail now, which ends nothing
            intake.acknowledge([Delivery("a/b", b"", 1, False, False, 8)])
        if paused:
            assert broker.delivered == []
            intake.resume()
        await lost(intake)
        assert [each.payload for each in broker.delivered[-5000:]] == [b"%d" % n for n in range(1, 5001)]
        intake.acknowledge(broker.delivered)
        intake.pause()
        intake.resume()
        await lost(intake)


async def test_a_broker_that_reads_late_gets_all_acknowledgements():
    broker = Broker()
    async with broker.talk() as (intake, _):
        many = [Delivery("t", b"", 1, False, False, n % 65535 + 1) for n in range(50_000)]
        for _ in range(40):
            intake.acknowledge(many)
        assert not intake._writable
        found = await broker.said(4 * 40 * 50_000)
        assert found == module.codec.acknowledge(many) * 40
        while not intake._writable:
            await asyncio.sleep(0)
    broker.sock.close()


async def test_a_broker_that_says_nothing_for_long_is_lost_but_not_while_we_do_not_listen(monkeypatch):
    broker = Broker(packet(0x20, b"\1\0" + properties(2, ServerKeepAlive=1)))
    async with broker.talk() as (intake, _):
        assert await broker.said(2) == b"\xc0\0"
        intake.pause()
        assert await broker.said(2) == b"\xc0\0"
        assert not intake._lost.done()
        intake.resume()
        assert "silent for 1 s" in await lost(intake)
    broker.sock.close()


async def test_a_broker_that_sends_us_away_is_quoted():
    broker = Broker()
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", b"last") + b"\xe0\1\x8e")
        assert "session taken over" in await lost(intake)
        assert [each.payload for each in broker.delivered] == [b"last"]
    broker.sock.close()


async def test_what_is_no_mqtt_ends_the_connection_after_what_was():
    broker = Broker()
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", b"last") + b"\0\0")
        assert "not MQTT 5" in await lost(intake)
        assert [each.payload for each in broker.delivered] == [b"last"]
    broker.sock.close()
