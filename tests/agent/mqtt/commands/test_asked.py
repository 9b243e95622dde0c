"""What a tenant's job leaves is judged, bounded and answered, and nothing of it is another's."""

import pytest

from agent.errors import RefusedError
from agent.mqtt.commands.asked import BURST, MAX_TENANTS, Buckets, read
from agent.mqtt.wire.delivery import Delivery
from agent.orders import CommandState
from agent.spec import MqttView
from tests.fakes.command_parts import CommandBench

TOPIC = "tenants/acme/devices/locker/cmd/open"


def left(payload=b"3", *, words=(), response_topic="", retained=False, topic=TOPIC, expiry=None, correlation=b"c"):
    return Delivery(topic, payload, 1, retained, False, 1, "", tuple(words), correlation, response_topic, expiry)


@pytest.fixture
async def bench(tmp_path):
    one = CommandBench(tmp_path / "commands.db")
    one.granted["acme", "locker", "open"] = MqttView("r", "acme", "j", ())
    one.granted["acme", "gone", "open"] = MqttView("r", "acme", "j", ())
    async with one.running():
        yield one


def to_tenants(bench):
    return [sent for sent in bench.broker.sent if sent["topic"].startswith("tenants/")]


def refusals(bench):
    return [dict(sent["user_properties"]).get("refused") for sent in to_tenants(bench)]


# --- reading ---


def test_what_is_wanted_stands_in_topic_and_properties():
    words = [("assurance", "at-least-once"), ("queue-seconds", "60"), ("idempotency-key", "k")]
    wanted = read(left(words=words, response_topic="tenants/acme/answers", expiry=20))
    assert (wanted.tenant, wanted.reply_topic, wanted.reply_correlation) == ("acme", "tenants/acme/answers", b"c")
    order = wanted.order
    assert (order.actor, order.device, order.name, order.payload) == ("tenant/acme", "locker", "open", b"3")
    assert (order.timeout_seconds, order.at_least_once, order.queue_seconds, order.idempotency_key) == (
        20.0,
        True,
        60,
        "k",
    )


@pytest.mark.parametrize(("expiry", "seconds"), [(None, 10.0), (0, 1.0), (3600, 60.0)])
def test_message_expiry_is_the_deadline(expiry, seconds):
    assert read(left(expiry=expiry)).order.timeout_seconds == seconds


@pytest.mark.parametrize(
    "forged",
    [
        "devices/locker/cmd/open",
        "tenants/other/answers",
        "$CONTROL/dynamic-security/v1",
        "tenants/acme/devices/locker/cmd/open",
        "tenants/acme/jobs/j/devices",
        "tenants/acme/" + "x" * 600,
    ],
)
def test_a_forged_response_topic_is_not_used(forged):
    assert read(left(response_topic=forged)).reply_topic == f"{TOPIC}/ack"


@pytest.mark.parametrize(
    "wrong",
    [
        {"words": [("assurance", "twice")]},
        {"words": [("queue-seconds", "-1")]},
        {"words": [("queue-seconds", "9" * 400)]},
        {"words": [("queue-seconds", "\N{SUPERSCRIPT TWO}")]},
        {"words": [("idempotency-key", "k" * 65)]},
        {"payload": bytes(65_537)},
        {"correlation": bytes(129)},
    ],
)
def test_what_is_out_of_bounds_is_a_bad_request(wrong):
    with pytest.raises(RefusedError) as refused:
        read(left(**wrong))
    assert refused.value.reason == "BAD_REQUEST"


# --- rates ---


def test_each_tenant_has_a_burst_and_then_one_a_second():
    buckets = Buckets()
    assert sum(buckets.take("acme", 0.0) for _ in range(100)) == BURST
    assert buckets.take("other", 0.0)
    assert not buckets.take("acme", 0.9)
    assert buckets.take("acme", 1.9)


def test_tenants_that_are_remembered_are_bounded():
    buckets = Buckets()
    for number in range(MAX_TENANTS + 10):
        buckets.take(f"t{number}", 0.0)
    assert len(buckets.tenants) == MAX_TENANTS


def test_complaints_come_once_a_minute_and_count():
    buckets = Buckets()
    assert [buckets.complain("acme", float(second)) for second in range(0, 70, 10)] == [1, 0, 0, 0, 0, 0, 6]


# --- whole ---


async def test_a_granted_command_is_audited_sent_and_answered_with_the_tenants_correlation_data(bench):
    bench.tenants.receive(left(response_topic="tenants/acme/answers"))
    await bench.broker.until_sent(1)
    assert [audit.outcome for audit in bench.audits()] == ["asked"]
    bench.answer(b"opened", bench.broker.sent[0]["correlation_data"])
    await bench.until(lambda: to_tenants(bench))
    (told,) = to_tenants(bench)
    assert (told["topic"], told["payload"], told["correlation_data"]) == ("tenants/acme/answers", b"opened", b"c")
    await bench.until(lambda: bench.audits("ok"))
    assert {audit.actor for audit in bench.audits()} == {"tenant/acme"}


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("tenants/other/devices/locker/cmd/open", "PERMISSION_DENIED"),
        ("tenants/acme/devices/locker/cmd/close", "PERMISSION_DENIED"),
        ("tenants/acme/devices/never-seen/cmd/open", "PERMISSION_DENIED"),
        ("tenants/acme/devices/gone/cmd/open", "AWAY"),
    ],
)
async def test_what_was_not_granted_or_cannot_be_is_refused_and_not_sent(bench, topic, reason):
    bench.tenants.receive(left(topic=topic))
    await bench.until(lambda: to_tenants(bench))
    assert refusals(bench) == [reason]
    assert to_tenants(bench)[0]["topic"] == f"{topic}/ack"
    assert len(bench.broker.sent) == 1


async def test_one_that_waits_says_so_and_comes_later(bench):
    bench.tenants.receive(left(topic="tenants/acme/devices/gone/cmd/open", words=[("queue-seconds", "60")]))
    await bench.until(lambda: to_tenants(bench))
    words = dict(to_tenants(bench)[0]["user_properties"])
    assert words["state"] == "queued"
    bench.later(61)
    await bench.until(lambda: len(to_tenants(bench)) == 2)
    assert refusals(bench)[1] == "DEADLINE"
    assert bench.commands.views()[0].state is CommandState.EXPIRED
    assert bench.commands.views()[0].id == words["command"]


async def test_the_same_key_is_sent_once_and_answered_twice(bench):
    again = left(words=[("idempotency-key", "k")])
    bench.tenants.receive(again)
    await bench.broker.until_sent(1)
    bench.answer(b"opened", bench.broker.sent[0]["correlation_data"])
    await bench.until(lambda: len(to_tenants(bench)) == 1)
    bench.tenants.receive(again)
    await bench.until(lambda: len(to_tenants(bench)) == 2)
    assert [sent["payload"] for sent in to_tenants(bench)] == [b"opened", b"opened"]
    assert len(bench.broker.sent) == 3


async def test_a_flood_costs_one_entry_in_the_trail_and_no_answers(bench):
    for _ in range(1000):
        bench.tenants.receive(left(topic="tenants/acme/devices/locker/cmd/close"))
    bench.tenants.receive(left(retained=True))
    await bench.until(lambda: len(to_tenants(bench)) == BURST)
    bench.time.pass_seconds(61)
    bench.tenants.receive(left(topic="tenants/acme/devices/locker/cmd/close"))
    await bench.until(lambda: len(bench.audits()) >= 2)
    assert [audit.detail for audit in bench.audits()] == [
        "1 refused since the last entry",
        "1000 refused since the last entry",
    ]


async def test_what_cannot_be_written_down_is_not_done(bench):
    bench.sink.full = True
    bench.tenants.receive(left())
    await bench.until(lambda: to_tenants(bench))
    assert refusals(bench) == ["NO_ROOM"]
    assert len(bench.broker.sent) == 1
