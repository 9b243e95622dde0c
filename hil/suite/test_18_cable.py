"""The cable is pulled and put back many times: the session comes back, nothing is lost, nothing arrives twice."""

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from hil.board import until
from hil.central import Central
from hil.faults import heard, publishing, whole
from hil.qmp import Qmp
from hil.suite.conftest import NODE

TIMES = 25
SHORT, LONG = 0.05, 4.0  # seconds; from a bounce of the plug to what a switch takes to restart
SEED = 20261123


@pytest.mark.lg_feature("link-fault")
@pytest.mark.timeout(1200)
def test_a_flapping_line_loses_nothing_and_doubles_nothing(
    enrolled: Any,
    central: Central,
    qmp: Qmp,
    injected: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    draw = random.Random(SEED)
    with publishing(enrolled, central, NODE, ("meter-1", "meter-2"), 5.0) as devices:
        try:
            for number in range(TIMES):
                down, up = draw.uniform(SHORT, LONG), draw.uniform(SHORT, LONG)
                qmp.command("set_link", name="net0", up=False)
                injected(f"line {number + 1} of {TIMES}: down for {down:.2f} s, then up for {up:.2f} s")
                time.sleep(down)
                qmp.command("set_link", name="net0", up=True)
                time.sleep(up)
        finally:
            qmp.command("set_link", name="net0", up=True)
        until(lambda: central.connected(NODE), "the session to be back", 180)
        heard(central, NODE, devices)
    counts = whole(central, NODE, devices)
    record_property("acknowledged", sum(len(device.acknowledged) for device in devices))
    assert {what: count for what, count in counts.items() if count > 1} == {}
    assert central.ask("messages", NODE)["gaps"] == []
