from hypothesis import given
from hypothesis import strategies as st

from central.metrics import decode, violation
from storeedge.v1.record_pb2 import METRIC_KIND_COUNTER, METRIC_KIND_GAUGE, MetricBatch, Series


def example() -> MetricBatch:
    """The worked example of docs/PROTOCOL.md."""
    return MetricBatch(
        start_unix_nano=1_700_000_000_000_000_000,
        tick_delta_milli=[0, 10_000, 10_000],
        strings=["", "system.cpu.utilization", "1", "cpu.mode", "user", "hw.temperature", "Cel"],
        series=[
            Series(
                name=1,
                unit=2,
                kind=METRIC_KIND_GAUGE,
                attributes=[3, 4],
                decimals=3,
                value_deltas=[125, 15, -40],
            ),
            Series(name=5, unit=6, kind=METRIC_KIND_GAUGE, decimals=1, value_deltas=[415, 5], ticks=[0, 2]),
        ],
    )


def test_the_worked_example_decodes_as_the_document_says() -> None:
    assert violation(example()) is None
    (cpu, cpu_points), (heat, heat_points) = decode(example())
    assert (cpu.name, cpu.unit, cpu.attributes) == ("system.cpu.utilization", "1", (("cpu.mode", "user"),))
    start = 1_700_000_000_000_000_000
    assert [(p.time_unix_nano - start, p.value) for p in cpu_points] == [
        (0, 0.125),
        (10_000_000_000, 0.14),
        (20_000_000_000, 0.1),
    ]
    assert heat.name == "hw.temperature"
    assert [(p.time_unix_nano - start, p.value) for p in heat_points] == [(0, 41.5), (20_000_000_000, 42.0)]


def test_one_metric_can_be_asked_for() -> None:
    assert [key.name for key, _ in decode(example(), "hw.temperature")] == ["hw.temperature"]


@given(st.lists(st.integers(-(1 << 52), 1 << 52), min_size=1, max_size=600))
def test_integers_come_back_whatever_their_differences(values: list[int]) -> None:
    deltas = [b - a for a, b in zip([0, *values], values, strict=False)]
    batch = MetricBatch(
        tick_delta_milli=[0] + [1000] * (len(values) - 1),
        strings=["", "n"],
        series=[Series(name=1, kind=METRIC_KIND_COUNTER, value_deltas=deltas)],
    )
    assert violation(batch) is None
    ((_, points),) = decode(batch)
    assert [p.value for p in points] == values


def broken(**changes: object) -> str | None:
    batch = example()
    for name, value in changes.items():
        target, _, field = name.rpartition("__")
        message = batch.series[0] if target else batch
        message.ClearField(field)
        if isinstance(value, list):
            getattr(message, field).extend(value)
        else:
            setattr(message, field, value)
    return violation(batch)


def test_each_rule_is_told_by_its_field() -> None:
    for found, field in (
        (broken(tick_delta_milli=[]), "tick_delta_milli"),
        (broken(tick_delta_milli=[5, 1, 1]), "tick_delta_milli[0]"),
        (broken(tick_delta_milli=[0] * 601), "tick_delta_milli"),
        (broken(strings=["x"]), "strings"),
        (broken(s__name=7), "series[0].name"),
        (broken(s__attributes=[3]), "series[0].attributes"),
        (broken(s__attributes=[3, 99]), "series[0].name, unit, attributes"),
        (broken(s__decimals=10), "series[0].decimals"),
        (broken(s__kind=0), "series[0].kind"),
        (broken(s__value_deltas=[1]), "series[0].value_deltas"),
        (broken(s__ticks=[0, 1, 3]), "series[0].ticks"),
        (broken(s__ticks=[0, 2, 1]), "series[0].ticks"),
        (broken(s__ticks=[0, 0, 1]), "series[0].ticks"),
    ):
        assert found is not None and found.startswith(f"metrics.{field}"), (found, field)
