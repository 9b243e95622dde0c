"""What counts as a fault in a board's journal, and what does not."""

from typing import Any

from hil import journal

FAILED = {"MESSAGE_ID": "d9b373ed55a64feb8242e02dbe79a49c", "UNIT": "edge-agent.service", "MESSAGE": "Failed"}
DUMPED = {
    "MESSAGE_ID": "fc2e22bc6ee647b6b90729ab34a250b1",
    "COREDUMP_UNIT": "edge-agent.service",
    "_SYSTEMD_UNIT": "systemd-coredump@0.service",
    "MESSAGE": "Process 1 dumped core",
}
ORDINARY: dict[str, Any] = {"_SYSTEMD_UNIT": "edge-agent.service", "MESSAGE": "ready", "PRIORITY": "6"}


def test_an_ordinary_line_is_no_fault() -> None:
    assert journal.faults([ORDINARY]) == []


def test_a_failed_unit_and_a_core_dump_are_faults() -> None:
    assert [fault.split(":")[0] for fault in journal.faults([FAILED, ORDINARY, DUMPED])] == ["unit failed", "core dump"]


def test_what_happens_to_an_expected_unit_is_no_fault() -> None:
    assert journal.faults([FAILED, DUMPED], ["edge-agent.service"]) == []
    assert len(journal.faults([FAILED, DUMPED], ["edge-launcher.service"])) == 2


def test_a_traceback_of_ours_is_a_fault_and_of_others_is_not() -> None:
    text = "boom\nTraceback (most recent call last):\n"
    ours = {"_SYSTEMD_UNIT": "edge-launcher.service", "MESSAGE": text}
    assert len(journal.faults([ours, ours | {"_SYSTEMD_UNIT": "cron.service"}])) == 1


def test_an_oops_of_the_kernel_is_a_fault_and_a_warning_is_not() -> None:
    entries = [{"_TRANSPORT": "kernel", "PRIORITY": str(priority), "MESSAGE": "x"} for priority in range(8)]
    assert len(journal.faults(entries)) == 3


def test_a_message_that_is_not_utf_8_is_read() -> None:
    (entry,) = journal.parse(["-- a remark", '{"MESSAGE": [104, 105, 255], "__REALTIME_TIMESTAMP": "1500000"}'])
    assert journal.line(entry).endswith(": hi�")
    assert journal.line(entry).startswith("1.500 ")
