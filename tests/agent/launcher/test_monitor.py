import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.launcher import monitor
from agent.launcher.monitor import NOBODY, Process
from agent.launcher.protocol import LauncherError

# Says what conmon says: a line on the sync pipe, after a byte came over the start pipe.
_FAKE = """
import os, sys
os.read(4, 1)
open(sys.argv[1], "w").write(str(os.getppid()))
os.write(3, sys.argv[2].encode())
"""


def fake(tmp_path: Path, answer: str) -> tuple[Process, Process]:
    argv = (sys.executable, "-S", "-c", _FAKE, str(tmp_path / "pid"), answer)
    return monitor.create(argv, (tmp_path,), tmp_path / "pid")


def test_the_monitor_is_put_in_its_cgroup_and_answers_with_the_jobs_pid(tmp_path: Path) -> None:
    holder, job = fake(tmp_path, f'{{"data": {os.getpid()}}}\n')
    assert holder == job == monitor.process(os.getpid())
    assert (tmp_path / "cgroup.procs").read_text().isdigit()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ('{"data": -1, "message": "no such image"}\n', "refused: no such image"),
        ("", "without a word"),
        ("garbage\n", "garbage"),
        ("{}\n", "without a word"),
    ],
)
def test_a_refusal_carries_the_runtimes_own_words(tmp_path: Path, answer: str, says: str) -> None:
    with pytest.raises(LauncherError, match=says):
        fake(tmp_path, answer)


def test_no_descriptor_is_left_over(tmp_path: Path) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    fake(tmp_path, f'{{"data": {os.getpid()}}}\n')
    with pytest.raises(LauncherError):
        fake(tmp_path, "")
    with pytest.raises(OSError, match=r"cgroup\.procs"):
        monitor.create((sys.executable, "-S", "-c", _FAKE), (tmp_path / "none",), tmp_path / "pid")
    monitor.command(("/bin/true",))
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_command_gives_its_code_and_its_words() -> None:
    assert monitor.command(("/bin/sh", "-c", "echo out; echo err >&2; exit 3")) == (3, "out\nerr")


def test_a_reused_pid_is_another_process() -> None:
    me = monitor.process(os.getpid())
    assert me.alive()
    other = Process(me.pid, me.start_ticks + 1)
    assert not other.alive()
    assert monitor.open_pidfd(other) is None
    monitor.send(other, signal.SIGKILL)  # reaches nobody
    assert not NOBODY.alive()


def test_a_process_that_was_dead_when_it_was_looked_at_never_lives() -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    known = monitor.process(child.pid)
    assert known.start_ticks == 0
    assert not known.alive()


# A launcher that dies when conmon waits to be let go; the "cgroup" tells conmon's pid.
_DIES = """
import os, signal, sys
from pathlib import Path
from agent.launcher import monitor

class Group:
    def __truediv__(self, name):
        return self
    def write_text(self, pid):
        print(pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

monitor.create(tuple(sys.argv[1:]), (Group(),), Path("none"))
"""


@pytest.mark.skipif(not Path("/usr/bin/conmon").exists(), reason="needs conmon")
def test_a_monitor_whose_launcher_dies_before_it_is_let_go_makes_no_sandbox(tmp_path: Path) -> None:
    dies = subprocess.Popen(
        [
            sys.executable, "-c", _DIES, "/usr/bin/conmon", "--api-version=1", "--cid=a", "--name=a", "--cuuid=a",
            "--full-attach", "--runtime=/bin/true", f"--bundle={tmp_path}", f"--persist-dir={tmp_path}",
            f"--container-pidfile={tmp_path / 'job'}", f"--conmon-pidfile={tmp_path / 'monitor'}",
            f"--log-path=k8s-file:{tmp_path / 'log'}",
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert dies.stdout is not None
    with dies, contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(int(dies.stdout.readline()))
        assert select.select([fd], [], [], 10)[0] == [fd]
        os.close(fd)
    assert not (tmp_path / "monitor").exists()  # the first that conmon writes once it goes on


def test_the_oom_score_is_written_to_that_very_process() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        score = Path(f"/proc/{child.pid}/oom_score_adj")
        known = monitor.process(child.pid)
        monitor.pin_oom_score(Process(known.pid, known.start_ticks + 1), 600)
        assert score.read_text() != "600\n"
        monitor.pin_oom_score(known, 600)
        assert score.read_text() == "600\n"
        child.kill()
    monitor.pin_oom_score(known, 500)  # gone: nothing


def test_a_zombie_is_dead_and_its_pidfd_says_so() -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        known = monitor.process(child.pid)
        fd = monitor.open_pidfd(known)
        assert fd is not None
        monitor.send(known, signal.SIGKILL)
        assert select.select([fd], [], [], 10)[0] == [fd]
        os.close(fd)
        assert not known.alive()
    finally:
        child.wait()
    assert monitor.open_pidfd(known) is None


def test_a_command_is_told_and_says() -> None:
    assert monitor.command(("/bin/cat",), "told") == (0, "told")
    assert monitor.command(("/bin/cat",)) == (0, "")
    assert monitor.command(("/bin/sleep", "60"), seconds=0.05) == (-9, "")


def test_a_process_is_in_its_cgroup_and_those_above() -> None:
    me = monitor.process(os.getpid())
    path = Path("/proc/self/cgroup").read_text().splitlines()[0].split(":", 2)[2]
    assert monitor.is_in(me, path)
    assert not monitor.is_in(me, "/no-such-cgroup")
    assert not monitor.is_in(Process(me.pid, me.start_ticks + 1), path)
    assert not monitor.is_in(NOBODY, path)


def test_one_file_has_many_names(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to("a")
    assert monitor.same_file(tmp_path / "a", tmp_path / "b")
    assert not monitor.same_file(tmp_path / "a", tmp_path)
    assert not monitor.same_file(tmp_path / "a", tmp_path / "none")
    assert monitor.same_file("/proc/self/ns/net", f"/proc/{os.getpid()}/ns/net")


def test_a_gate_is_read_once_and_then_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = tmp_path / "exec.fifo"
    assert not monitor.open_gate(gate)
    os.mkfifo(gate)
    held = os.open(gate, os.O_PATH)  # as a created init does: it need not find the name again
    with subprocess.Popen(["/bin/sh", "-c", f"printf 0 >/proc/self/fd/{held}"], pass_fds=(held,)) as waiting:
        os.close(held)
        assert monitor.open_gate(gate)
    assert waiting.returncode == 0
    assert not gate.exists()
    os.mkfifo(gate)
    monkeypatch.setattr(monitor, "_GATE_SECONDS", 0.05)
    assert not monitor.open_gate(gate)  # nobody is there to be started


def test_a_gate_that_was_opened_is_read_though_we_are_killed_meanwhile(tmp_path: Path) -> None:
    gate, opened = tmp_path / "exec.fifo", tmp_path / "opened"
    os.mkfifo(gate)
    script = f"exec 3>{gate}; : >{opened}; sleep 0.3; printf 0 >&3"
    ours = f"from pathlib import Path; from agent.launcher import monitor; monitor.open_gate(Path({str(gate)!r}))"
    with subprocess.Popen(["/bin/sh", "-c", script]) as init, subprocess.Popen([sys.executable, "-c", ours]) as us:
        while not opened.exists():
            time.sleep(0.005)
        us.kill()
    assert init.returncode == 0


def test_what_a_process_executes_is_known_by_its_file() -> None:
    me = monitor.process(os.getpid())
    assert monitor.executes(me, Path("/elsewhere") / Path("/proc/self/exe").readlink().name)
    assert not monitor.executes(me, Path("/usr/bin/catatonit"))
    assert not monitor.executes(NOBODY, Path("/usr/bin/catatonit"))
