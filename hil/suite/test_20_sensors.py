"""Telemetry of sensors: what central has is what the board's own drivers say."""

from typing import Any

import pytest

from hil.board import until
from hil.central import Central
from hil.suite.conftest import NODE

CHIPS = """
for file in /sys/class/hwmon/hwmon*/temp*_input; do
    if test -r $file; then echo $(cat ${file%/*}/name) $(cat $file); fi
done
"""
ALARMS = """
for file in /sys/class/hwmon/hwmon*/in*_lcrit_alarm; do
    if test -r $file; then echo $(cat ${file%/*}/name) $(cat $file); fi
done
"""


def series(central: Central, name: str) -> list[tuple[dict[str, str], float]]:
    """Attributes and newest value of each."""
    found = central.ask("telemetry", NODE, "--name", name)["series"]
    return [(each["attributes"], float(each["points"][-1]["value"])) for each in found]


@pytest.mark.core
@pytest.mark.lg_feature("thermal")
def test_central_has_the_temperature_of_each_driver_of_the_board(enrolled: Any, central: Central) -> None:
    chips = [line.split() for line in enrolled.run_check(CHIPS)]
    assert chips
    until(lambda: len(series(central, "hw.temperature")) == len(chips), "temperatures at central", 180)
    at_central = sorted((each["hw.id"].split("/")[0], value) for each, value in series(central, "hw.temperature"))
    for (chip, celsius), (name, millidegrees) in zip(at_central, sorted(chips), strict=True):
        assert chip == name
        assert celsius == pytest.approx(int(millidegrees) / 1000, abs=5)  # real silicon warms up meanwhile


@pytest.mark.core
@pytest.mark.lg_feature("throttling")
def test_central_hears_from_the_pis_drivers_that_it_is_not_throttled(enrolled: Any, central: Central) -> None:
    """The word of the Pi's own kernel, or the alarm of its hwmon driver; and no cooling in force."""
    until(lambda: len(series(central, "edge.throttle.active")) > 0, "its word at central", 180)
    found = series(central, "edge.throttle.active")
    told = {(each["hw.id"], each["edge.throttle.cause"]): value for each, value in found}
    for chip, alarm in (line.split() for line in enrolled.run_check(ALARMS)):
        assert told[(f"{chip}/in0", "under_voltage")] == int(alarm)
    assert set(told.values()) == {0.0}
