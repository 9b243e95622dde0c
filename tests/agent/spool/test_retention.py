"""Who gives way: logs, telemetry, devices, events; the bill and the audit trail never."""

from hypothesis import given
from hypothesis import strategies as st

from agent.model import RecordClass
from agent.spool.retention import DROP_ORDER, NEVER_DROPPED, victims

held = st.dictionaries(st.sampled_from(list(RecordClass)), st.integers(0, 1000))


def test_logs_go_before_telemetry_and_telemetry_before_devices() -> None:
    plan = victims(
        250,
        for_class=RecordClass.DEVICE,
        held_bytes={RecordClass.LOG: 100, RecordClass.TELEMETRY: 100, RecordClass.DEVICE: 100},
    )
    assert plan == {RecordClass.LOG: 100, RecordClass.TELEMETRY: 100, RecordClass.DEVICE: 50}


def test_telemetry_does_not_push_devices_out() -> None:
    assert victims(10, for_class=RecordClass.TELEMETRY, held_bytes={RecordClass.DEVICE: 1000}) is None


@given(st.integers(0, 5000), st.sampled_from(list(RecordClass)), held)
def test_a_plan_frees_enough_and_never_touches_what_must_stay(
    need: int, for_class: RecordClass, held_bytes: dict[RecordClass, int]
) -> None:
    plan = victims(need, for_class=for_class, held_bytes=held_bytes)
    if plan is None:
        return
    assert sum(plan.values()) == need
    assert not NEVER_DROPPED & set(plan)
    assert all(give <= held_bytes[c] for c, give in plan.items())
    if for_class in DROP_ORDER:
        assert all(DROP_ORDER.index(c) <= DROP_ORDER.index(for_class) for c in plan)
