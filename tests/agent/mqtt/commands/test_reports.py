"""What an ended command owes is paid, if need be later, and the tenant reads how it ended."""

import asyncio

import pytest

from agent.mqtt.commands.queue import Gate, Now, Queue
from agent.mqtt.commands.reports import Reports
from tests.fakes.command_parts import FakeBroker, command
from tests.fakes.mqtt_parts import FakeSink

NOW = Now("boot-1", 1.0, 10**9)


@pytest.fixture
async def paid(monkeypatch):
    """Runs the reports of a queue until it owes nothing."""
    monkeypatch.setattr("agent.mqtt.commands.reports._RETRY_SECONDS", 0.01)

    async def until_paid(queue, broker, sink, whole=b""):
        reports = Reports(sink, broker.publish)
        if whole:
            reports.whole("c-1", whole)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(reports.run(queue, lambda: NOW, asyncio.Event()))
            async with asyncio.timeout(5):
                while queue.owing():
                    await asyncio.sleep(0.001)
            running.cancel()

    return until_paid


def answered(answer, **fields):
    queue = Queue()
    queue.add(command(**fields))
    queue.turn(NOW, lambda _: Gate.GO)
    queue.answer("c-1", answer, NOW)
    return queue


async def test_a_tenant_gets_the_answer_when_the_broker_is_back(paid):
    broker, sink = FakeBroker(), FakeSink()
    broker.away = True
    asyncio.get_running_loop().call_later(0.05, setattr, broker, "away", False)
    await paid(answered(b"opened", scope="acme", reply_topic="t/x", reply_correlation=b"c"), broker, sink)
    assert [(sent["topic"], sent["payload"], sent["correlation_data"]) for sent in broker.sent] == [
        ("t/x", b"opened", b"c")
    ]
    assert sink.events[0].tenant == "acme"


@pytest.mark.parametrize(("whole", "length", "cut"), [(bytes(5000), 5000, None), (b"", 4096, "5000")])
async def test_an_answer_of_which_only_the_beginning_is_left_says_so(paid, whole, length, cut):
    broker = FakeBroker()
    await paid(answered(bytes(5000), reply_topic="t/x"), broker, FakeSink(), whole)
    assert len(broker.sent[0]["payload"]) == length
    assert dict(broker.sent[0]["user_properties"]).get("cut") == cut


async def test_neither_payload_nor_answer_is_in_what_leaves_the_store(paid):
    sink = FakeSink()
    await paid(answered(b"secret-answer", payload=b"secret-payload"), FakeBroker(), sink)
    assert b"secret" not in repr(sink.batches).encode()
