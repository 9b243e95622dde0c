"""Whose retained messages are still somebody's: a tenant's outlive its last run and a restart of the agent by a day."""

from agent.mqtt.gate import Gate
from agent.spec import MqttView
from tests.fakes.mqtt_parts import FakeTime

DAY = 86_400.0


async def unheard(bodies):
    """Nobody reads records here."""


def test_what_a_tenant_left_is_there_for_a_day_after_its_last_run(tmp_path):
    time = FakeTime()
    gate = Gate(b"s" * 32, tmp_path, tmp_path, unheard, time.clock(), lambda _: True)
    assert gate._tenants() is None, "runs are not known yet"
    gate.views.tell(frozenset({MqttView("acme.feed.1", "acme", "feed", ())}))
    assert gate._tenants() is None, "who had a run before the agent began isn't known for a day"
    time.pass_seconds(DAY - 60)
    gate.views.tell(frozenset({MqttView("bolt.feed.1", "bolt", "feed", ())}))
    gate.views.tell(frozenset())
    time.pass_seconds(120)
    assert gate._tenants() == {"bolt"}
    time.pass_seconds(DAY)
    assert gate._tenants() == set()
