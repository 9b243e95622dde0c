"""The supply fails while central is away, devices publish and a job runs; the store comes back by itself."""

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, Device, login, until
from hil.central import Central
from hil.suite.conftest import NODE
from hil.suite.test_4_jobs import DESIRED

DEVICES = 3
PER_SECOND = 4.0
# The broker acknowledges to a device before the agent has the message on disk: what was acknowledged in the last
# moment is not promised. How much that was is in the report.
MARGIN_SECONDS = 3.0


@pytest.mark.core
@pytest.mark.lg_feature("power-cut")
@pytest.mark.timeout(1200)
def test_after_a_power_cut_nothing_acknowledged_is_missing(
    board: Any,
    enrolled: Any,
    central: Central,
    times: dict[str, float],
    record_property: Callable[[str, object], None],
) -> None:
    central.apply(NODE, DESIRED)
    until(lambda: central.job(NODE, "keeper").get("state") == "JOB_STATE_RUNNING", "the service to run")
    service = central.job(NODE, "keeper")
    boot_id = enrolled.run_check("cat /proc/sys/kernel/random/boot_id")
    known = {f"cart-{number}": central.password(NODE, f"cart-{number}") for number in range(DEVICES)}
    devices = [Device(enrolled, name, password, "position", PER_SECOND) for name, password in known.items()]
    try:
        _wait(devices, 20)
        until(lambda: len(_received(central)) > 0, "the first messages at central")
        central.stop()  # from here on only the board's own disk has them
        _wait(devices, 60)
        board.cut_power()
        cut = time.monotonic()
    finally:
        for device in devices:
            device.stop()
        central.start()
    stored = len(_received(central))

    board.restore_power()
    times["power back to ssh"] = time.monotonic() - cut
    until(lambda: enrolled.run("systemctl is-active --quiet edge-agent")[2] == 0, "the agent to be ready", 240)
    times["power back to agent ready"] = time.monotonic() - cut
    assert enrolled.run_check("cat /proc/sys/kernel/random/boot_id") != boot_id
    until(lambda: central.connected(NODE) and _attempt(central) > service["attempt"], "the service to run again", 240)
    times["power back to service running"] = time.monotonic() - cut
    assert enrolled.run_check("systemctl --failed --no-legend") == []

    # The password of before: nothing of it is lost either.
    enrolled.run_check(f"mosquitto_pub {login('cart-0', known['cart-0'])} -t devices/cart-0/position -m after")
    until(lambda: any(m["payload"] == "after" for m in central.messages(NODE)), "a message from after the cut")
    received = _received(central)
    promised = {(d.name, n) for d in devices for n, heard in d.acknowledged.items() if heard < cut - MARGIN_SECONDS}
    last_moment = {(d.name, n) for d in devices for n in d.acknowledged} - promised
    record_property("acknowledged", len(promised) + len(last_moment))
    record_property("at central before the cut", stored)
    record_property("acknowledged in the last moment", len(last_moment))
    record_property("of these lost", len(last_moment - set(received)))
    record_property("delivered twice", sum(count - 1 for count in received.values()))
    assert not promised - set(received)


@pytest.mark.core
def test_the_spool_goes_on_in_the_same_epoch_and_dropped_nothing(enrolled: Any, central: Central) -> None:
    messages = central.messages(NODE)
    sequence = [message["seq"] for message in messages]
    assert len(set(sequence)) == len(sequence)
    assert central.ask("messages", NODE)["gaps"] == []

    def spool() -> dict[str, Any]:
        return dict(json.loads("\n".join(enrolled.run_check("edge-agent spool --json", timeout=COMMAND_SECONDS))))

    assert {message["spool_epoch"] for message in messages} == {spool()["epoch"]}
    assert [entry for entry in spool()["classes"] if entry.get("dropped")] == []

    def device() -> tuple[int, int]:
        entry = next(entry for entry in spool()["classes"] if entry["record_class"] == "RECORD_CLASS_DEVICE")
        return int(entry["next_seq"]), int(entry["acked_seq"])

    # What the broker delivered again after the cut has a number of its own; central keeps the message once.
    assert device()[0] > max(sequence)
    until(lambda: device()[0] == device()[1] + 1, "everything to be at central")


def _wait(devices: list[Device], count: int) -> None:
    until(lambda: all(len(device.acknowledged) >= count for device in devices), f"{count} messages of each", 180)


def _received(central: Central) -> Counter[tuple[str, int]]:
    return Counter(
        (message["device"], int(message["payload"]))
        for message in central.messages(NODE)
        if message["device"].startswith("cart-") and message["payload"].isdecimal()
    )


def _attempt(central: Central) -> int:
    job = central.job(NODE, "keeper")
    return int(job["attempt"]) if job.get("state") == "JOB_STATE_RUNNING" else 0
