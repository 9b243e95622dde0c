import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import interface, monitor
from agent.launcher.firewall import Link
from agent.launcher.layout import Host, Places, Tree
from agent.launcher.monitor import NOBODY, Process
from agent.launcher.protocol import HostFacts, LauncherError, NetworkRequest

HEADER = """Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0
"""
LINK = Link("run", "acme", "job", 5, 7, NetworkRequest())


def host(netns: Path | None) -> Host:
    return Host(
        facts=HostFacts("crun", "1", "v2", memory_controller=True, cpus=1, memory_bytes=1, boot_id="boot"),
        machine="x86_64", runtime=Path("/a"), conmon=Path("/b"), init=Path("/c"),
        tree=Tree("v2", "/edge-jobs", ()), places=Places(Path("/state"), Path("/run/l")), etc=(),
        netns=netns, network="10.222.0.0/16",
    )  # fmt: skip


class Says:
    """monitor.command's place: what was run, and an answer to each."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.ran: list[tuple[str, ...]] = []

    def __call__(self, argv: tuple[str, ...], stdin: str = "", seconds: float = 0.0) -> tuple[int, str]:
        self.ran.append(argv)
        return self.answers.pop(0)


def beside(proc: Path, text: str) -> Process:
    """A process that lives, and what its network is said to be."""
    job = monitor.process(os.getpid())
    (proc / f"{job.pid}/net").mkdir(parents=True)
    (proc / f"{job.pid}/net/dev").write_text(HEADER + text)
    return job


def test_bytes_are_read_inside_while_the_job_lives(tmp_path: Path) -> None:
    job = beside(tmp_path, "  eth0:    5000  4 0 0 0 0 0 0 700 5 0 0 0 0 0 0\n")
    assert interface.counters(LINK, job, host(None), tmp_path) == (5000, 700)


@pytest.mark.parametrize("how", ["gone", "reused", "other namespace"])
def test_bytes_are_read_outside_when_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Also when another process has its number now: with an eth0 of its own, the store's perhaps."""
    job = beside(tmp_path, "" if how == "other namespace" else "  eth0: 9999999 4 0 0 0 0 0 0 9999999 5 0 0 0 0 0 0\n")
    job = {"gone": NOBODY, "reused": replace(job, start_ticks=job.start_ticks - 1), "other namespace": job}[how]
    says = Says((0, "  ej-5:700 5 0 0 0 0 0 0 5000 4 0 0 0 0 0 0"))
    monkeypatch.setattr(monitor, "command", says)
    assert interface.counters(LINK, job, host(Path("/ns")), tmp_path) == (5000, 700)
    assert says.ran[0][:3] == ("/usr/bin/nsenter", "--net=/ns", "--")


def test_when_the_link_is_gone_too_there_is_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "command", Says((1, "")))
    assert interface.counters(LINK, NOBODY, host(Path("/ns"))) == (0, 0)


def test_without_any_network_nothing_was_sent() -> None:
    assert interface.counters(LINK, NOBODY, host(None)) == (0, 0)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "command", Says((127, "sh: 1: tc: not found")))
    assert "tc: not found" in interface.unavailable("10.222.0.0/16", Path("/ns"))
    monkeypatch.setattr(monitor, "command", Says((-9, "")))
    assert "not within 120 s" in interface.unavailable("10.222.0.0/16", Path("/ns"))
    monkeypatch.setattr(monitor, "command", Says((0, ""), (1, "nsenter: cannot open /ns")))
    assert "cannot open /ns" in interface.unavailable("10.222.0.0/16", Path("/ns"))
    monkeypatch.setattr(monitor, "command", Says((0, ""), (0, "")))
    assert interface.unavailable("10.222.0.0/16", Path("/ns")) == ""


def test_a_network_of_the_stores_own_is_not_given_to_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "command", Says((0, ""), (0, "10.222.3.0/24 dev eth0 proto kernel scope link")))
    why = interface.unavailable("10.222.0.0/16", Path("/ns"))
    assert "policy `network`" in why and "10.222.3.0/24 dev eth0" in why


@pytest.mark.parametrize(("said", "ours", "expected"), [("0", False, False), ("1", False, True), ("1", True, False)])
def test_a_machine_that_we_made_forward_is_no_router(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, ours: bool, expected: bool
) -> None:
    if ours:
        (tmp_path / "marker").touch()
    monkeypatch.setattr(monitor, "command", Says((0, said)))
    assert interface.router(Path("/ns"), tmp_path / "marker") is expected


def test_a_namespace_that_is_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "command", Says((1, "no such file")))
    with pytest.raises(LauncherError, match="in /ns: no such file"):
        interface.router(Path("/ns"), tmp_path)


def test_a_kernel_without_ipv6_has_no_table_of_its_addresses(tmp_path: Path) -> None:
    assert not interface.ipv6(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/if_inet6").touch()
    assert interface.ipv6(tmp_path)
