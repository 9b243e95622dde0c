"""Names of sensors."""

from agent.telemetry.collectors.fan import FanCollector
from agent.telemetry.collectors.fan import read as read_fans
from agent.telemetry.collectors.sensors import named
from agent.telemetry.collectors.temperature import TemperatureCollector
from agent.telemetry.collectors.temperature import read as read_temperatures


def test_each_sensor_has_an_id_of_its_own() -> None:
    chips = {"nvme": [("Composite", 41.9), ("Composite", 44.9)], "cpu_thermal": [("", 51.1), ("", 50.0)]}
    assert dict(named(chips)) == {
        "nvme/Composite": 41.9,
        "nvme/Composite#2": 44.9,
        "cpu_thermal/1": 51.1,
        "cpu_thermal/2": 50.0,
    }


def test_a_box_without_sensors_yields_nothing() -> None:
    assert list(TemperatureCollector(dict).collect()) == []
    assert list(FanCollector(dict).collect()) == []


def test_this_host_can_be_asked_whatever_it_has() -> None:
    assert all(label is not None for readings in read_temperatures().values() for label, _ in readings)
    assert all(value >= 0 for readings in read_fans().values() for _, value in readings)
