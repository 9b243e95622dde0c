"""What is sent when, and what becomes of it: over any history."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import RefusedError
from agent.mqtt.commands.queue import (
    KEEP_SECONDS,
    MAX_ENDED,
    MAX_LIVE,
    MAX_LIVE_BYTES,
    MAX_LIVE_OF_DEVICE,
    RECORD,
    REPLY,
    RETRY_SECONDS,
    Gate,
    Now,
    Queue,
)
from agent.orders import CommandState
from tests.fakes.command_parts import command


def at(seconds, boot="boot-1"):
    return Now(boot, seconds, int(seconds * 1e9) + 1)


def go(_):
    return Gate.GO


def wait(_):
    return Gate.WAIT


def queue_of(*commands):
    queue = Queue()
    for each in commands:
        queue.add(each)
    return queue


def sent(queue, seconds=0.0, gate=go):
    return [each.id for each in queue.turn(at(seconds), gate)]


def states(queue):
    return {view.id: view.state.value for view in queue.views("", "")}


# --- order ---


def test_at_least_once_commands_of_one_device_wait_for_each_other_and_not_for_those_of_others():
    ordered = {"at_least_once": True, "kept": True}
    queue = queue_of(command("1", **ordered), command("2", **ordered), command("3", device="e", **ordered))
    assert sent(queue) == ["1", "3"]
    assert sent(queue, 1.0) == []
    queue.answer("1", b"", at(2.0))
    assert sent(queue, 2.0) == ["2"]


def test_what_a_person_waits_for_goes_past_what_waits():
    queue = queue_of(command("1", at_least_once=True), command("2"), command("3", kept=True))
    assert sent(queue) == ["1", "2"]


def test_what_is_kept_and_sent_once_keeps_its_order_but_waits_for_no_answer():
    queue = queue_of(command("1", kept=True), command("2", kept=True), command("3", kept=True, at_least_once=True))
    assert sent(queue, gate=wait) == []
    assert sent(queue) == ["1", "2", "3"]


# --- again ---


def test_pauses_between_attempts_grow_up_to_a_bound_and_end_with_the_answer():
    queue = queue_of(command("1", at_least_once=True, expires_seconds=1e9))
    times = [second for second in range(3000) if sent(queue, float(second))]
    assert times[:5] == [0, 5, 15, 35, 75]
    assert max(b - a for a, b in pairwise(times)) == 300
    queue.answer("1", b"", at(3000.0))
    assert sent(queue, 9000.0) == []


def test_a_device_that_comes_back_is_told_at_once():
    queue = queue_of(command("1", at_least_once=True), command("2", device="e", at_least_once=True))
    assert sent(queue) == ["1", "2"]
    queue.revive("d")
    assert sent(queue, 0.1) == ["1"]
    queue.revive(None)
    assert sent(queue, 0.2) == ["1", "2"]


def test_what_was_sent_once_is_never_sent_again():
    queue = queue_of(command("1", kept=True))
    assert sent(queue) == ["1"]
    queue.revive(None)
    assert sent(queue, 500.0) == []


# --- ends ---


@pytest.mark.parametrize(("gate", "state"), [(go, "unanswered"), (wait, "expired")])
def test_when_its_time_is_up_it_says_whether_it_was_sent(gate, state):
    queue = queue_of(command("1", at_least_once=True))
    sent(queue, gate=gate)
    sent(queue, 1000.0)
    assert states(queue) == {"1": state}


@pytest.mark.parametrize(("before", "state"), [(go, "unanswered"), (wait, "cancelled")])
def test_cancelled_means_that_it_was_never_sent(before, state):
    queue = queue_of(command("1", kept=True))
    sent(queue, gate=before)
    queue.cancel("1", at(1.0))
    assert states(queue) == {"1": state}


def test_who_may_not_any_more_has_what_it_asked_for_ended():
    queue = queue_of(command("1", scope="acme"), command("2", scope="acme", at_least_once=True))
    sent(queue, gate=lambda c: Gate.GO if c.id == "2" else Gate.NEVER)
    sent(queue, RETRY_SECONDS, gate=lambda _: Gate.NEVER)
    assert states(queue) == {"1": "cancelled", "2": "unanswered"}


def test_a_late_answer_is_one_and_a_second_is_none():
    queue = queue_of(command("1"))
    sent(queue)
    sent(queue, 1000.0)
    assert queue.answer("1", b"late", at(1001.0))
    assert not queue.answer("1", b"again", at(1002.0))
    assert queue.views("", "")[0].answer == b"late"


def test_nothing_was_sent_after_all():
    queue = queue_of(command("1"), command("2", kept=True), command("3", at_least_once=True, kept=True))
    sent(queue)
    for id_ in "123":
        queue.not_sent(id_, at(1.0))
    assert states(queue) == {"1": "expired", "2": "queued", "3": "queued"}
    assert [view.sent for view in queue.views("", "")] == [0, 0, 0]


def test_without_an_answer_to_come_it_has_ended_with_the_broker():
    queue = queue_of(command("1", answered_by_device=False), command("2"))
    sent(queue)
    queue.handed_over("1", at(1.0))
    queue.handed_over("2", at(1.0))
    assert [(c.id, c.state) for c in queue.owing()] == [("1", CommandState.SENT)]


# --- answers ---


def test_an_answer_is_for_who_has_its_id_its_device_and_its_name():
    queue = queue_of(command("1"), command("2", device="e"), command("3", name="close"))
    sent(queue)

    def match(device, name, correlation_data, waited_for=()):
        return queue.match(device, name, correlation_data, waited_for.__contains__)

    assert match("d", "open", b"1") == "1"
    assert match("d", "open", b"2") is None
    assert match("d", "open", b"\xff") is None
    assert match("d", "open", b"") == "1"
    assert match("d", "close", b"") == "3"
    sent(queue, 1000.0)
    assert match("d", "open", b"") is None
    assert match("d", "open", b"", ("1",)) == "1"


def test_a_command_that_was_not_sent_has_no_answer():
    queue = queue_of(command("1"))
    assert queue.match("d", "open", b"1", lambda _: False) is None


# --- bounds ---


def test_bounds_of_a_device_of_all_of_a_tenant_and_of_bytes():
    queue = queue_of(*(command(f"{n:05}") for n in range(MAX_LIVE_OF_DEVICE)))
    with pytest.raises(RefusedError, match="device d"):
        queue.add(command("x"))
    part = MAX_LIVE // 4
    for n in range(part):
        queue.add(command(f"t{n:05}", scope="acme", device=f"e{n}"))
    with pytest.raises(RefusedError, match=f"{part} commands"):
        queue.add(command("x", scope="acme", device="x"))
    for n in range(MAX_LIVE - part - MAX_LIVE_OF_DEVICE):
        queue.add(command(f"u{n:05}", device=f"f{n}"))
    with pytest.raises(RefusedError, match=f"{MAX_LIVE} commands"):
        queue.add(command("x", device="x"))
    big = queue_of(*(command(f"{n:05}", device=f"{n}", payload=bytes(1 << 16)) for n in range(MAX_LIVE_BYTES >> 16)))
    with pytest.raises(RefusedError, match="bytes") as refused:
        big.add(command("x", device="x"))
    assert refused.value.reason == "NO_ROOM"


def test_ended_ones_are_kept_for_a_day_and_only_the_newest():
    queue = Queue()
    for n in range(MAX_ENDED + 5):
        queue.add(command(f"{n:05}", key=f"{n}"))
        sent(queue)
        queue.answer(f"{n:05}", b"", at(1.0))
        queue.paid(f"{n:05}", RECORD, at(1.0))
    assert len(queue.views("", "")) == MAX_ENDED
    assert queue.find("", "d", "open", "0") is None
    assert queue.find("", "d", "open", "5") is not None
    queue.take()
    queue.paid("00005", RECORD, at(KEEP_SECONDS + 2))
    assert queue.views("", "") == ()
    assert set(queue.take().values()) == {None}


def test_what_owes_something_is_not_forgotten():
    queue = queue_of(command("1", reply_topic="t"))
    sent(queue)
    queue.answer("1", b"", at(1.0))
    queue.paid("1", RECORD, at(KEEP_SECONDS * 2))
    assert [c.owes for c in queue.owing()] == [REPLY]
    queue.paid("1", REPLY, at(KEEP_SECONDS * 2))
    assert queue.get("1") is None


def test_keys_of_one_tenant_mean_nothing_to_another():
    queue = queue_of(command("1", key="k", scope="acme"))
    assert queue.find("other", "d", "open", "k") is None
    assert queue.find("", "d", "open", "k") is None
    found = queue.find("acme", "d", "open", "k")
    assert found is not None
    queue.owe_again("1", "tenants/acme/new", b"c")
    sent(queue)
    queue.answer("1", b"", at(1.0))
    assert [c.reply_topic for c in queue.owing()] == ["tenants/acme/new"]


# --- restarts ---


def test_after_a_reboot_what_is_left_of_its_time_goes_by_the_wall_clock_and_never_grows():
    one = command("1", kept=True, asked_unix_nano=10**9, expires_unix_nano=101 * 10**9, expires_seconds=5000.0)
    for wall, left in ((51, 50.0), (500, 0.0), (-900, 100.0)):
        queue = Queue()
        queue.restore([one], Now("boot-2", 7.0, wall * 10**9))
        assert queue.next_at() == pytest.approx(7.0 + left)


def test_what_a_caller_waited_for_that_has_gone_is_not_sent_after_a_restart():
    queue = Queue()
    queue.restore([command("1"), command("2", kept=True), command("3", at_least_once=True)], at(1.0))
    assert sent(queue, 1.0) == ["2", "3"]
    assert states(queue)["1"] == "expired"


def test_what_could_not_be_written_stays_due():
    queue = queue_of(command("1"), command("2"))
    taken = queue.take()
    queue.drop("2")
    queue.put_back(taken)
    assert {id_: c and c.id for id_, c in queue.take().items()} == {"1": "1", "2": None}


class History:
    """A queue, its disk, and how often each command was handed to the broker."""

    def __init__(self):
        self.queue, self.disk, self.seconds = Queue(), {}, 0.0
        self.handed = {}

    def add(self, more, kept, device):
        id_ = f"{len(self.disk) + 1}"
        self.queue.add(command(id_, device=device, at_least_once=more, kept=kept))

    def turn(self, gate):
        for each in self.queue.turn(at(self.seconds), lambda _: gate):
            assert not each.ended
            self.handed[each.id] = self.handed.get(each.id, 0) + 1

    def answer(self, number):
        known = self.queue.get(str(number))
        if known is not None and known.sent:
            self.queue.answer(known.id, b"a", at(self.seconds))

    def cancel(self, number):
        known = self.queue.get(str(number))
        if known is not None and not known.ended:
            self.queue.cancel(known.id, at(self.seconds))

    def come_back(self):
        self.queue.revive(None)

    def wait(self, seconds):
        self.seconds += seconds

    def restart(self):
        self.save()
        self.queue = Queue()
        self.queue.restore(self.disk.values(), at(self.seconds))

    def save(self):
        self.disk.update(self.queue.take())


STEPS = st.one_of(
    st.tuples(st.just("add"), st.booleans(), st.booleans(), st.sampled_from("de")),
    st.tuples(st.just("turn"), st.sampled_from([Gate.GO, Gate.GO, Gate.GO, Gate.WAIT, Gate.NEVER])),
    st.tuples(st.sampled_from(["restart", "come_back"])),
    st.tuples(st.sampled_from(["answer", "cancel"]), st.integers(1, 8)),
    st.tuples(st.just("wait"), st.floats(0.1, 400.0)),
)


@settings(max_examples=400)
@given(st.lists(STEPS, min_size=4, max_size=40))
def test_over_any_history_once_is_once_and_ended_is_ended(steps):
    history, ends = History(), {}
    for name, *arguments in steps:
        getattr(history, name)(*arguments)
        history.save()
        for c in history.disk.values():
            handed = history.handed.get(c.id, 0)
            assert c.at_least_once or handed <= 1
            assert (c.state in {CommandState.EXPIRED, CommandState.CANCELLED}) <= (handed == 0)
            if ends.get(c.id, CommandState.UNANSWERED) is not CommandState.UNANSWERED:
                assert c.state is ends[c.id]
            if c.ended:
                assert c.payload == b""
                ends[c.id] = c.state
