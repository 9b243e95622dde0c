"""One connection behind the other: read in the order in which they were made, also by another process."""

import asyncio

import pytest

from agent.errors import AwayError
from agent.mqtt.wire import line as module
from agent.runtime.notify import KeptSockets
from tests.agent.mqtt.wire.test_intake import GRANTED, NEW, PRESENT, Broker, lost
from tests.fakes.mqtt_packets import publish


class Systemd:
    """Keeps sockets; each process has its own KeptSockets."""

    def __init__(self):
        self.sockets = {}

    def process(self):
        left = {name: sock.dup() for name, sock in reversed(self.sockets.items())}
        for each in left.values():
            each.setblocking(False)
        return KeptSockets(self, left)

    def store(self, name, sock):
        assert name not in self.sockets
        self.sockets[name] = sock.dup()
        return True

    def remove(self, name):
        if name in self.sockets:
            self.sockets.pop(name).close()

    def close(self):
        for name in list(self.sockets):
            self.remove(name)


class Restarted(Broker):
    """A broker that is killed and started again, with one agent's line of connections to it."""

    def __init__(self):
        super().__init__()
        self._listening.setblocking(False)
        self.durable, self.systemd, self.waiting = False, Systemd(), []
        self.again()

    def again(self):
        """Another process of the agent."""
        self.mine = self.line(self.systemd.process())

    async def accept(self, *packets, connack=PRESENT):
        """The broker is back: welcomes us, sends and stays. `packets` follow at once."""
        loop = asyncio.get_running_loop()
        opening = asyncio.ensure_future(self.mine.connect())
        sock, _ = await loop.sock_accept(self._listening)
        await loop.sock_recv(sock, 1000)
        await loop.sock_sendall(sock, connack + b"".join(packets))
        self.sock = sock
        return await opening

    async def die(self):
        await self.kernel_has_sent()
        self.sock.close()

    async def seen(self, count):
        async with asyncio.timeout(10):
            while len(self.delivered) < count:
                await asyncio.sleep(0)
        return [each.payload for each in self.delivered]

    def acknowledge_all(self):
        self.durable = True
        for intake, deliveries in self.waiting:
            intake.acknowledge(deliveries)

    def deliver(self, intake, deliveries, again):
        if not self.durable:
            self.waiting.append((intake, deliveries))
        super().deliver(intake, deliveries, again)

    def kill_agent(self):
        """Its sockets are closed, and systemd's copies are not."""
        self.mine._kept = None
        places = list(self.mine._places)
        self.mine.close()
        assert all(place.is_kept for place in places)
        self.waiting, self.delivered, self.looks, self.durable = [], [], [], False
        self.again()


@pytest.fixture
async def broker():
    one = Restarted()
    yield one
    one.mine.close()
    one.systemd.close()
    one.sock.close()
    one._listening.close()


def numbers(first, last):
    return [publish("a/b", b"%d" % n, packet_id=n) for n in range(first, last)]


async def ended(intake):
    with pytest.raises(AwayError):
        async with asyncio.timeout(5):
            await intake.ended()


async def test_a_new_connection_is_made_while_an_ended_one_is_still_to_be_read_and_order_is_kept(broker):
    first = await broker.accept(*numbers(1, 4))
    assert await broker.seen(3) == [b"1", b"2", b"3"]
    await broker.die()
    await ended(first)
    assert not first.is_lost
    second = await broker.accept(*numbers(4, 7))
    await broker.die()
    await ended(second)
    third = await broker.accept(GRANTED, *numbers(7, 10))
    await third.subscribed()
    assert third.is_connected and not second.is_connected
    assert list(broker.systemd.sockets) == [broker.mine._named(n) for n in range(3)]
    assert len(broker.delivered) == 3
    broker.acknowledge_all()
    assert await broker.seen(9) == [b"%d" % n for n in range(1, 10)]
    assert first.is_lost and second.is_lost and not third.is_lost
    assert list(broker.systemd.sockets) == [broker.mine._named(2)]
    assert broker.looks == [False] * len(broker.looks)


@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("alive", [False, True])
async def test_another_process_goes_on_where_one_was_killed(acknowledged, alive):
    systemd, broker = Systemd(), Broker()
    broker.durable = acknowledged
    stream = [publish("a/b", b"%d" % n, packet_id=n + 1) for n in range(20)]
    async with broker.talk(systemd.process()) as (_, sock):
        sock.sendall(b"".join(stream[:10]))
        while len(broker.delivered) < 10:
            await asyncio.sleep(0)
        await broker.said(40 if acknowledged else 0)
        broker.durable = False
    sock.sendall(b"".join(stream[10:]))
    if not alive:
        await broker.kernel_has_sent()
        sock.close()
    later = Broker()
    later.config = broker.config
    line = later.line(systemd.process())
    await line.adopt()
    intake = line.newest
    if alive:
        sock.setblocking(False)
        async with asyncio.timeout(10):
            subscribed = await asyncio.get_running_loop().sock_recv(sock, 14)
            assert subscribed[0] == 0x82  # no DISCONNECT, no CONNECT
            await asyncio.get_running_loop().sock_sendall(sock, GRANTED)
            await intake.subscribed()
        line.close()
        assert systemd.sockets
    else:
        await lost(intake)
        assert line.newest is None
        assert not systemd.sockets
    assert [each.payload for each in later.delivered] == [b"%d" % n for n in range(10 * acknowledged, 20)]
    assert later.looks[0] is True and not any(later.looks[1:])
    assert later.sessions_lost == 0
    systemd.close()
    sock.close()
    later._listening.close()


async def test_a_lost_connection_is_not_kept_and_without_systemd_the_broker_is_told_of_the_end():
    systemd, broker = Systemd(), Broker()
    async with broker.talk(systemd.process()) as (intake, sock):
        assert systemd.sockets
        sock.close()
        await lost(intake)
    assert not systemd.sockets


async def test_another_process_reads_all_of_them_in_their_order(broker):
    first = await broker.accept(*numbers(1, 4))
    await broker.seen(3)
    await broker.die()
    await ended(first)
    await broker.accept(*numbers(4, 7))
    await broker.die()
    await broker.accept(*numbers(7, 10))
    await broker.kernel_has_sent()
    broker.kill_agent()
    broker.durable = True
    await broker.mine.adopt()
    assert await broker.seen(9) == [b"%d" % n for n in range(1, 10)]
    assert broker.looks[0] is True and not any(broker.looks[1:])
    assert len(broker.mine._places) == 1 and len(broker.systemd.sockets) == 1
    await broker.die()
    await lost(broker.mine.newest)
    await asyncio.sleep(0)
    assert not broker.systemd.sockets and broker.mine.newest is None


async def test_a_new_session_begins_when_its_connection_is_the_first(broker):
    first = await broker.accept(*numbers(1, 3))
    await broker.seen(2)
    await broker.die()
    await ended(first)
    second = await broker.accept(GRANTED, connack=NEW)
    await second.subscribed()
    assert second.is_new
    assert broker.sessions_lost == 0
    broker.delivered.clear()
    broker.acknowledge_all()
    await lost(first)
    await asyncio.sleep(0)
    assert broker.sessions_lost == 1


async def test_one_that_brought_nothing_leaves_the_line(broker):
    first = await broker.accept(*numbers(1, 3))
    await broker.seen(2)
    await broker.die()
    await ended(first)
    second = await broker.accept(GRANTED)
    await broker.die()
    await lost(second)
    await asyncio.sleep(0)
    assert broker.mine.newest is first
    assert len(broker.systemd.sockets) == 1


async def test_no_more_than_systemd_keeps_and_no_more_than_fits_in_memory(broker, monkeypatch):
    first = await broker.accept(*numbers(1, 3))
    await broker.seen(2)
    await broker.die()
    await ended(first)
    monkeypatch.setattr(module, "MOST_UNREAD_BYTES", 10)
    with pytest.raises(AwayError, match="1 connections with 22 bytes"):
        await broker.mine.connect()
    monkeypatch.undo()
    monkeypatch.setattr(module, "MOST", 1)
    with pytest.raises(AwayError, match="1 connections"):
        await broker.mine.connect()
