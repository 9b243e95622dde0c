"""One connection with a broker of a few lines: what it wrote is delivered, what we say goes out in order."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections import deque
from contextlib import asynccontextmanager
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.schema import MqttConfig
from agent.errors import AwayError
from agent.mqtt.wire import intake as module
from agent.mqtt.wire.delivery import Delivery
from agent.mqtt.wire.intake import Intake
from agent.mqtt.wire.line import Line
from agent.runtime.notify import KeptSockets
from tests.fakes.mqtt_packets import packet, properties, publish

PRESENT, NEW = packet(0x20, b"\1\0\0"), packet(0x20, b"\0\0\0")
GRANTED = packet(0x90, b"\0\1\0\2\2")


NOBODY = KeptSockets()


class Broker:
    """Accepts one connection, and says what the test says."""

    def __init__(self, connack=PRESENT, suback=GRANTED):
        self.connack, self.suback = connack, suback
        self.delivered, self.looks, self.sessions_lost, self.durable = [], [], 0, True
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.config = MqttConfig(port=self._listening.getsockname()[1])

    def deliver(self, intake, deliveries, again):
        self.delivered += deliveries
        self.looks.append(again)
        if self.durable:
            asyncio.get_running_loop().call_soon(intake.acknowledge, deliveries)

    def session_lost(self):
        self.sessions_lost += 1
        assert self.delivered == []

    def line(self, kept=NOBODY):
        return Line(self.config, "edge-agent", "secret", ("a/#", "b/#"), self.deliver, self.session_lost, kept)

    @asynccontextmanager
    async def talk(self, kept=NOBODY):
        """(intake, the broker's socket); the subscription stands."""
        loop = asyncio.get_running_loop()
        self._listening.setblocking(False)
        greeting = asyncio.ensure_future(self._greet(loop))
        line = self.line(kept)
        try:
            intake = await line.connect()
            await intake.subscribed()
            yield intake, await greeting
        finally:
            line.close()
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


def in_kernel(intake):
    """Bytes that have arrived and were not taken out."""
    return struct.unpack("i", fcntl.ioctl(intake._sock, termios.FIONREAD, bytes(4)))[0]


async def test_messages_stay_in_the_kernel_until_they_are_acknowledged_and_nothing_is_read_before():
    broker = Broker()
    broker.durable = False
    async with broker.talk() as (intake, sock):
        first = publish("a/b", b"1", packet_id=1) + publish("a/b", b"2", packet_id=2, qos=2)
        sock.sendall(first)
        while len(broker.delivered) < 2:
            await asyncio.sleep(0)
        sock.sendall(publish("a/b", b"3", packet_id=3))
        await broker.kernel_has_sent()
        await asyncio.sleep(0)
        assert (len(broker.delivered), in_kernel(intake)) == (2, len(first) + len(publish("a/b", b"3")))
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        intake.acknowledge(broker.delivered)
        assert await broker.said(8) == b"\x40\2\0\1\x50\2\0\2"
        while len(broker.delivered) < 3:
            await asyncio.sleep(0)
        assert in_kernel(intake) == len(publish("a/b", b"3"))
        intake.acknowledge(broker.delivered[2:])
        assert await broker.said(4) == b"\x40\2\0\3"
        await asyncio.get_running_loop().sock_sendall(sock, b"\x62\2\0\2")
        assert await broker.said(4) == b"\x70\2\0\2"
        assert in_kernel(intake) == 0
        assert broker.looks == [False, False]
    assert await broker.said(2) == b"\xe0\0"
    assert b"edge-agent" in broker.hello and b"secret" in broker.hello
    assert b"a/#" in broker.subscribed and b"b/#" in broker.subscribed
    broker.sock.close()


async def test_nobody_there_is_away():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        config = MqttConfig(port=unused.getsockname()[1])
    with pytest.raises(AwayError, match="111"):
        await Line(config, "u", "p", ("a",), lambda *_: None, lambda: None, NOBODY).connect()


async def test_a_broker_that_accepts_and_says_nothing_is_away(monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.05)
    broker = Broker()
    with pytest.raises(AwayError, match="no answer"):
        await broker.line().connect()
    broker._listening.close()


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("reset", [False, True])
async def test_what_was_written_before_the_broker_died_is_delivered_to_the_last_byte(durable, reset):
    broker = Broker()
    async with broker.talk() as (intake, sock):
        broker.durable = durable
        sock.sendall(publish("a/b", b"seen", packet_id=7))
        while not broker.delivered:
            await asyncio.sleep(0)
        seen = broker.delivered[:]
        sock.setblocking(False)
        whole = b"".join(publish("a/b", b"%d" % n, packet_id=n) for n in range(1, 5001)) + b"cut"
        await asyncio.get_running_loop().sock_sendall(sock, whole)
        intake._send(b"\xc0\0")  # unread there: the end becomes a reset
        await broker.kernel_has_sent()
        broker.reset() if reset else sock.close()
        for _ in range(50):  # writes fail now, which ends nothing
            intake._send(b"\xc0\0")
        if not durable:
            assert broker.delivered == seen
            broker.durable = True
            intake.acknowledge(seen)
        await lost(intake)
        assert [each.payload for each in broker.delivered[1:]] == [b"%d" % n for n in range(1, 5001)]
        intake.acknowledge(seen)
        await lost(intake)


async def test_a_broker_that_reads_late_gets_all_acknowledgements_before_anything_is_taken_out():
    broker = Broker()
    broker.durable = False
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", b"1"))
        while not broker.delivered:
            await asyncio.sleep(0)
        many = [Delivery("t", b"", 1, False, False, n % 65535 + 1) for n in range(2_000_000)]
        intake.acknowledge(many)
        assert not intake._sender.is_empty
        assert in_kernel(intake)
        assert await broker.said(4 * len(many)) == module.codec.acknowledge(many)
        while not intake._sender.is_empty:
            await asyncio.sleep(0)
        assert not in_kernel(intake)
    broker.sock.close()


async def test_a_broker_that_says_nothing_for_long_is_lost_but_not_while_we_do_not_listen():
    broker = Broker(packet(0x20, b"\1\0" + properties(2, ServerKeepAlive=1)))
    broker.durable = False
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", b"1"))
        for _ in range(4):
            assert await broker.said(2) == b"\xc0\0"
        assert not intake.is_lost
        intake.acknowledge(broker.delivered)
        assert "silent for 1 s" in await lost(intake)
    broker.sock.close()


async def test_a_packet_that_comes_in_pieces_is_looked_at_a_few_times_only(monkeypatch):
    broker = Broker()
    async with broker.talk() as (intake, sock):
        looks = []
        feed = intake._decoder.feed
        monkeypatch.setattr(intake._decoder, "feed", lambda *words: looks.append(1) or feed(*words))
        whole = publish("a/b", bytes(150_000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(whole), 1000):
            await asyncio.get_running_loop().sock_sendall(sock, whole[at : at + 1000])
            await broker.kernel_has_sent()
            await asyncio.sleep(0)
        while not broker.delivered:
            await asyncio.sleep(0)
        assert [len(each.payload) for each in broker.delivered] == [150_000]
        assert len(looks) < 10
        sock.sendall(publish("a/b", b"small"))
        while len(broker.delivered) < 2:
            await asyncio.sleep(0)
    broker.sock.close()


async def test_a_connection_that_ends_within_a_packet_ends():
    broker = Broker()
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", bytes(1000))[:500])
        await broker.kernel_has_sent()
        sock.close()
        assert "in the middle of a packet" in await lost(intake)


async def test_what_is_no_mqtt_ends_the_connection_after_what_was():
    broker = Broker()
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", b"last") + b"\0\0")
        assert "not MQTT 5" in await lost(intake)
        assert [each.payload for each in broker.delivered] == [b"last"]
    broker.sock.close()


# --- one batch behind the other --------------------------------------------------------------------


async def test_while_a_batch_is_written_the_next_is_looked_at_and_no_third(monkeypatch):
    monkeypatch.setattr(module, "_WORTH_BYTES", 1)
    broker = Broker()
    broker.durable = False
    batches = []
    monkeypatch.setattr(broker, "deliver", lambda _, deliveries, __: batches.append(deliveries))
    async with broker.talk() as (intake, sock):
        stream = [publish("a/b", b"%d" % n, packet_id=n) for n in range(1, 4)]
        for count, each in enumerate(stream, 1):
            sock.sendall(each)
            await broker.kernel_has_sent()
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(batches) == min(count, 2)
        assert in_kernel(intake) == sum(map(len, stream))
        intake.acknowledge(batches[0])
        assert in_kernel(intake) == sum(map(len, stream[1:]))
        assert await broker.said(4) == b"\x40\2\0\1"
        while len(batches) < 3:
            await asyncio.sleep(0)
        intake.acknowledge(batches[1])
        intake.acknowledge(batches[2])
        assert await broker.said(8) == b"\x40\2\0\2\x40\2\0\3"
        assert in_kernel(intake) == 0
    broker.sock.close()


async def test_what_is_worth_no_batch_of_its_own_waits():
    broker = Broker()
    broker.durable = False
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", b"1"))
        while not broker.delivered:
            await asyncio.sleep(0)
        sock.sendall(publish("a/b", b"2") + publish("a/b", b"3"))
        await broker.kernel_has_sent()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(broker.delivered) == 1
        intake.acknowledge(broker.delivered[:])
        while len(broker.delivered) < 3:
            await asyncio.sleep(0)
        assert broker.looks == [False, False]
    broker.sock.close()


async def test_nothing_bad_behind_a_batch_ends_the_connection_before_it_is_acknowledged(monkeypatch):
    monkeypatch.setattr(module, "_WORTH_BYTES", 1)
    broker = Broker()
    broker.durable = False
    async with broker.talk() as (intake, sock):
        sock.sendall(publish("a/b", b"1"))
        while not broker.delivered:
            await asyncio.sleep(0)
        sock.sendall(b"\0\0")
        await broker.kernel_has_sent()
        sock.close()
        with pytest.raises(AwayError, match="closed the connection"):
            async with asyncio.timeout(5):
                await intake.ended()
        assert not intake.is_lost and not intake.is_connected
        intake.acknowledge(broker.delivered)
        assert "not MQTT 5" in await lost(intake)


STEPS = st.lists(st.sampled_from(("write", "turn", "record", "acknowledge", "kill", "jam")), min_size=5, max_size=60)


class Life:
    """A broker's stream, processes that are killed, and the bridge's part played by hand.

    Batches are recorded in order, each when the one before is out of the kernel. What a kill may repeat is what was
    recorded and is still in the kernel: all of it must come in the first look of the next process.
    """

    def __init__(self, sizes, cut):
        self.expected = [b"%d" % n + b"x" * size for n, size in enumerate(sizes)]
        stream = b"".join(publish("a/b", each, packet_id=n) for n, each in enumerate(self.expected, 1))
        self.pieces = deque(stream[at : at + cut] for at in range(0, len(stream), cut))
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.kept = socket.create_connection(server.getsockname())
            self.sock, _ = server.accept()
        self.sock.setblocking(False)
        self.kept.setblocking(False)
        self.durable, self.acknowledged, self.kills = [], bytearray(), 0
        self.start()

    def start(self):
        self.out, self.looks, self.recorded = deque(), 0, False
        self.intake = Intake(self.kept.dup(), ("a/#",), self.deliver, lambda: None, adopted=True)
        self.intake._sock.setblocking(False)
        self.intake.lead()

    def deliver(self, _, deliveries):
        self.out.append((deliveries, self.looks == 0 and self.kills > 0))
        self.looks += 1

    def kill(self):
        self.close()
        self.kills += 1
        self.start()

    def close(self):
        self.intake._end("killed")
        self.intake._sock.close()

    def write(self):
        if self.pieces:
            self.sock.send(self.pieces.popleft())

    def record(self):
        if self.out and not self.recorded and self.intake.settled.is_set():
            deliveries, again = self.out[0]
            fresh = [each.payload for each in deliveries if each.payload not in self.durable]
            assert again or len(fresh) == len(deliveries)
            self.durable += fresh
            self.recorded = True

    def acknowledge(self):
        if self.recorded:
            self.recorded = False
            self.intake.acknowledge(self.out.popleft()[0])

    def jam(self):
        """The broker reads no acknowledgements; or again."""
        sender = self.intake._sender
        sender._waits = not sender._waits
        if not sender._waits and not sender.is_empty:
            sender._flush()

    async def turn(self):
        for _ in range(3):
            await asyncio.sleep(0)
        with contextlib.suppress(BlockingIOError):
            self.acknowledged += self.sock.recv(1 << 16)
        assert self.told() <= {n for n, each in enumerate(self.expected, 1) if each in self.durable}

    def told(self):
        return {self.acknowledged[at] << 8 | self.acknowledged[at + 1] for at in range(2, len(self.acknowledged), 4)}

    async def finish(self):
        if self.intake._sender._waits:
            self.jam()
        async with asyncio.timeout(10):
            while len(self.told()) < len(self.expected) or in_kernel(self.intake):
                self.write()
                await self.turn()
                self.record()
                self.acknowledge()
                await asyncio.sleep(0.0005)


@given(steps=STEPS, sizes=st.lists(st.integers(0, 90), min_size=1, max_size=25), cut=st.integers(5, 200))
@settings(max_examples=40, deadline=None)
def test_whenever_it_is_killed_nothing_is_lost_nothing_acknowledged_before_it_is_durable_and_order_kept(
    steps, sizes, cut
):
    async def live():
        life = Life(sizes, cut)
        try:
            for step in steps:
                done = getattr(life, step)()
                if done is not None:
                    await done
            await life.finish()
            assert life.durable == life.expected
        finally:
            life.close()
            life.kept.close()
            life.sock.close()

    with mock.patch.object(module, "_WORTH_BYTES", 1), mock.patch.object(module.codec, "MAX_DELIVERIES", 4):
        asyncio.run(live())
