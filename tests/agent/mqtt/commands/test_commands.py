"""A command is on disk before it is sent, is sent as often as was asked, and its answer finds whoever waits."""

import asyncio
import sqlite3

import pytest

from agent.errors import RefusedError, StorageError
from agent.model import DeviceProtocol
from agent.mqtt.commands.leases import LEASE_SECONDS
from agent.mqtt.commands.outcome import Asked
from agent.mqtt.commands.route import Speaks
from agent.orders import CommandAnswer, CommandState
from agent.spec import MqttView
from tests.fakes.command_parts import CommandBench, order


@pytest.fixture
async def bench(tmp_path):
    async with CommandBench(tmp_path / "commands.db").running() as one:
        yield one


def on_disk(tmp_path):
    with sqlite3.connect(tmp_path / "commands.db") as db:
        return dict(db.execute("SELECT id, state FROM command"))


async def test_the_answer_with_the_same_correlation_data_comes_back_with_its_time(bench):
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.send())
        await bench.broker.until_sent(1)
        bench.time.pass_seconds(0.25)
        bench.answer(b"wrong", b"not ours")
        bench.answer(b"opened", bench.broker.sent[0]["correlation_data"])
    id_ = bench.broker.sent[0]["correlation_data"].decode()
    assert call.result() == CommandAnswer(id_, CommandState.ANSWERED, b"opened", 250)
    assert bench.broker.sent == [
        {
            "topic": "devices/locker/cmd/open",
            "payload": b"3",
            "response_topic": "devices/locker/cmd/open/ack",
            "correlation_data": id_.encode(),
            "expiry_seconds": 5,
        }
    ]


async def test_two_commands_of_one_name_are_told_apart(bench):
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(bench.send()), group.create_task(bench.send())
        await bench.broker.until_sent(2)
        bench.answer(b"nobody knows whose")
        bench.answer(b"two", bench.broker.sent[1]["correlation_data"])
        bench.answer(b"one", bench.broker.sent[0]["correlation_data"])
    assert (first.result().payload, second.result().payload) == (b"one", b"two")


async def test_an_answer_without_correlation_data_is_for_the_only_command_of_that_name(bench):
    async with asyncio.TaskGroup() as group:
        call, other = group.create_task(bench.send()), group.create_task(bench.send(name="close"))
        await bench.broker.until_sent(2)
        bench.answer(b"opened")
        bench.answer(b"closed", topic="devices/locker/cmd/close/ack")
    assert (call.result().payload, other.result().payload) == (b"opened", b"closed")


async def test_correlation_data_of_another_topic_and_retained_answers_are_not_believed(bench):
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.send())
        await bench.broker.until_sent(1)
        correlation = bench.broker.sent[0]["correlation_data"]
        bench.answer(b"x", correlation, topic="devices/other/cmd/open/ack")
        bench.answer(b"x", correlation, retained=True)
        bench.answer(b"opened", correlation)
    assert call.result().payload == b"opened"


async def test_no_answer_is_a_deadline_and_a_late_one_is_written_down(bench):
    with pytest.raises(RefusedError) as refused:
        await bench.send(timeout=0.05)
    assert refused.value.reason == "DEADLINE"
    bench.answer(b"late", bench.broker.sent[0]["correlation_data"])
    await bench.until(lambda: bench.audits("ok"))
    assert [view.state for view in bench.commands.views()] == [CommandState.ANSWERED]


@pytest.mark.parametrize(("device", "reason"), [("never-seen", "NOT_FOUND"), ("gone", "AWAY")])
async def test_to_a_device_that_is_unknown_or_offline_nothing_is_sent(bench, device, reason):
    with pytest.raises(RefusedError) as refused:
        await bench.send(device=device)
    assert refused.value.reason == reason
    assert bench.broker.sent == []


async def test_without_a_broker_nothing_was_sent_and_the_key_may_be_used_again(bench):
    bench.broker.away = True
    with pytest.raises(RefusedError) as refused:
        await bench.send(key="k")
    assert refused.value.reason == "AWAY"
    bench.broker.away = False
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.send(key="k"))
        await bench.broker.until_sent(1)
        bench.answer(b"opened")
    assert call.result().payload == b"opened"


async def test_the_same_key_is_sent_once_and_gets_the_same_answer_also_after_a_restart(tmp_path):
    async with CommandBench(tmp_path / "c.db").running() as bench, asyncio.TaskGroup() as group:
        first, second = group.create_task(bench.send(key="k")), group.create_task(bench.send(key="k"))
        await bench.broker.until_sent(1)
        bench.answer(b"opened")
        assert await first == await second == await bench.send(key="k")
        await bench.commands.settle()
    async with CommandBench(tmp_path / "c.db", bench.time).running() as again:
        assert await again.send(key="k") == first.result()
    assert (len(bench.broker.sent), again.broker.sent) == (1, [])


async def test_an_answer_that_was_too_long_to_keep_is_not_given_twice_in_part(bench):
    async with asyncio.TaskGroup() as group:
        call = group.create_task(bench.send(key="k"))
        await bench.broker.until_sent(1)
        bench.answer(bytes(5000))
    assert len(call.result().payload) == 5000
    with pytest.raises(RefusedError) as refused:
        await bench.send(key="k")
    assert refused.value.reason == "CONFLICT"
    assert len(bench.commands.views()[0].answer) == 4096


async def test_it_is_marked_as_sent_on_disk_before_it_is_sent(tmp_path):
    seen = []
    bench = CommandBench(tmp_path / "commands.db")
    publish = bench.broker.publish

    async def look(topic, payload, **properties):
        seen.append(on_disk(tmp_path))
        await publish(topic, payload, **properties)

    object.__setattr__(bench.commands._around, "publish", look)
    async with bench.running(), asyncio.TaskGroup() as group:
        group.create_task(bench.send())
        await bench.broker.until_sent(1)
        bench.answer(b"")
    assert list(seen[0].values()) == ["sent"]


async def test_on_a_full_disk_nothing_is_sent_and_nothing_remains(bench):
    bench.file.full = True
    with pytest.raises(StorageError):
        await bench.send(key="k")
    assert (bench.broker.sent, bench.commands.views()) == ([], ())


async def test_what_waits_for_a_device_is_sent_when_it_comes_and_the_caller_may_go(bench):
    told = await bench.send(device="gone", queue_seconds=3600, timeout=0.05)
    assert (told.state, bench.broker.sent) == (CommandState.QUEUED, [])
    bench.online["gone"] = True
    bench.commands.device_online("gone")
    await bench.broker.until_sent(1)
    assert bench.broker.sent[0]["expiry_seconds"] == 3600
    bench.answer(b"at last", told.command.encode(), topic="devices/gone/cmd/open/ack")
    await bench.until(lambda: bench.audits("ok"))
    assert bench.commands.views()[0].answer == b"at last"


async def test_what_was_sent_at_most_once_is_not_sent_again_after_a_restart_but_its_answer_is_known(tmp_path):
    async with CommandBench(tmp_path / "c.db").running() as bench:
        told = await bench.send(queue_seconds=3600, timeout=0.05)
        assert told.state is CommandState.SENT
    async with CommandBench(tmp_path / "c.db", bench.time).running() as again:
        await again.commands.broker_back()
        await again.commands.stored()
        assert again.broker.sent == []
        again.answer(b"opened", told.command.encode())
        await again.commands.settle()
        assert again.commands.views()[0].state is CommandState.ANSWERED


async def test_what_is_wanted_at_least_once_is_sent_again_with_the_same_correlation_data_over_a_restart(tmp_path):
    async with CommandBench(tmp_path / "c.db").running() as bench:
        await bench.send(queue_seconds=3600, timeout=0.05, at_least_once=True)
    async with CommandBench(tmp_path / "c.db", bench.time).running() as again:
        await again.broker.until_sent(1)
        again.later(11)
        await again.broker.until_sent(2)
        again.answer(b"opened", again.broker.sent[0]["correlation_data"])
        await again.until(lambda: again.audits("ok"))
    sent = bench.broker.sent + again.broker.sent
    assert len({each["correlation_data"] for each in sent}) == 1


async def test_one_that_the_broker_may_not_have_is_sent_again_only_if_that_was_asked(bench):
    bench.broker.lost = True
    once = await bench.send(queue_seconds=60, timeout=0.05)
    more = await bench.send(queue_seconds=60, timeout=0.05, at_least_once=True)
    bench.broker.lost = False
    await bench.commands.broker_back()
    await bench.broker.until_sent(3)
    sent = [each["correlation_data"].decode() for each in bench.broker.sent]
    assert sent == [once.command, more.command, more.command]


async def test_a_command_that_is_cancelled_is_never_sent(bench):
    told = await bench.send(device="gone", queue_seconds=3600, timeout=0.05)
    await bench.commands.cancel(told.command, "local:uid=0")
    bench.online["gone"] = True
    await bench.until(lambda: bench.audits("cancelled"))
    with pytest.raises(RefusedError) as refused:
        await bench.commands.cancel(told.command, "local:uid=0")
    assert (refused.value.reason, bench.broker.sent) == ("CONFLICT", [])


async def test_how_it_ended_is_written_down_when_the_disk_has_room_again(bench, monkeypatch):
    monkeypatch.setattr("agent.mqtt.commands.reports._RETRY_SECONDS", 0.01)
    bench.sink.full = True
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.send())
        await bench.broker.until_sent(1)
        bench.answer(b"opened")
    await bench.sink.tried.wait()
    bench.sink.full = False
    await bench.until(bench.audits)
    (event,) = bench.sink.events
    assert (event.kind, event.attributes["state"]) == ("device.command", "answered")
    assert (bench.audits()[0].actor, bench.audits()[0].target) == ("local:uid=0", "locker/open")


async def test_an_answer_that_must_stay_in_the_store_is_told_there_and_nowhere_else(bench):
    bench.kept_in_store.add("devices/locker/cmd/open/ack")
    async with asyncio.TaskGroup() as group:
        here = group.create_task(bench.send(actor="local:uid=0"))
        far = group.create_task(bench.send(actor="spiffe://x/operator/a"))
        await bench.broker.until_sent(2)
        for sent in bench.broker.sent:
            bench.answer(b"4711", sent["correlation_data"])
    assert (here.result().payload, far.result().payload) == (b"4711", b"")
    assert [view.answer for view in bench.commands.views()] == [b"", b""]


async def test_a_protocol_without_answers_is_done_when_the_broker_has_it(bench):
    bench.speaks["locker"] = Speaks(DeviceProtocol.ZIGBEE2MQTT)
    told = await bench.send(name="set", payload=b'{"state":"ON"}')
    assert told.state is CommandState.SENT
    assert bench.broker.sent[0]["topic"] == "zigbee2mqtt/locker/set"
    await bench.until(lambda: bench.audits("sent"))


async def test_a_tenants_command_waits_while_nobody_knows_its_grants_and_ends_when_there_is_none(bench):
    asked = Asked("acme", False, "tenants/acme/x")
    bench.nobody_knows = True
    command = bench.commands.ask(order(queue_seconds=60), asked)
    await bench.commands.stored()
    assert bench.commands.views()[0].state is CommandState.QUEUED
    bench.nobody_knows = False
    await bench.until(lambda: bench.audits("cancelled"))
    refusal = next(sent for sent in bench.broker.sent if sent["topic"] == "tenants/acme/x")
    assert ("refused", "PERMISSION_DENIED") in refusal["user_properties"]
    assert [sent for sent in bench.broker.sent if sent["topic"].startswith("devices/")] == []
    assert command.scope == "acme"


async def test_who_commands_a_device_first_holds_it_and_the_store_takes_it_over(bench):
    for tenant in ("acme", "other"):
        bench.granted[tenant, "locker", "open"] = MqttView("r", tenant, "j", ())
    bench.commands.ask(order(), Asked("acme", False))
    with pytest.raises(RefusedError) as refused:
        bench.commands.ask(order(), Asked("other", False))
    assert (refused.value.reason, "acme" in str(refused.value)) == ("LEASED", False)
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.send())
        await bench.broker.until_sent(2)
        for sent in bench.broker.sent:
            bench.answer(b"", sent["correlation_data"])
    with pytest.raises(RefusedError, match="the store"):
        bench.commands.ask(order(), Asked("acme", False))
    bench.time.pass_seconds(LEASE_SECONDS)
    bench.commands.ask(order(), Asked("other", False))


async def test_its_own_commands_are_known_again(bench):
    await bench.send(queue_seconds=60, timeout=0.05)
    correlation = bench.broker.sent[0]["correlation_data"]
    assert bench.commands.is_ours("devices/locker/cmd/open", correlation)
    assert not bench.commands.is_ours("devices/other/cmd/open", correlation)
    assert not bench.commands.is_ours("devices/locker/cmd/open", b"\xff")


async def test_before_it_runs_nothing_is_taken(tmp_path):
    with pytest.raises(RefusedError) as refused:
        await CommandBench(tmp_path / "c.db").send()
    assert refused.value.reason == "AWAY"
