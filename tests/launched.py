"""A real launcher process with its own directories and cgroup, for tests and benchmarks that need one. Needs root."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
UNIFIED = Path("/sys/fs/cgroup/unified/cgroup.controllers")

# crun refuses a hybrid host unless the v2 controllers are hidden from it while it creates a sandbox.
_MASKED_CRUN = f"""#!/bin/sh
case " $* " in *" create "*)
  exec unshare -m --propagation private sh -c 'mount --bind /dev/null {UNIFIED} && exec /usr/bin/crun "$@"' sh "$@";;
esac
exec /usr/bin/crun "$@"
"""


@dataclass
class Launched:
    """`start` and `kill` as often as you like; the directories stay until `launched()` is left."""

    directory: Path
    runtime: str
    agent_uid: int
    extra_policy: str = ""
    netns: str = ""  # where the host's side of runs' networks lives; empty: where the launcher does
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def socket(self) -> Path:
        return self.directory / "run" / "launcher.sock"

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    @property
    def cgroup(self) -> str:
        return f"edge-{self.directory.name}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def options(self) -> list[str]:
        policy = self.directory / "launcher.toml"
        policy.write_text(f'agent_uid = {self.agent_uid}\nruntime = "{self.runtime}"\n{self.extra_policy}')
        return [
            f"--state-dir={self.state_dir}", f"--run-dir={self.directory / 'run'}", f"--policy={policy}",
            f"--cgroup={self.cgroup}", *([f"--netns={self.netns}"] if self.netns else []),
        ]  # fmt: skip

    def start(self) -> None:
        """Returns when it says READY."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            path = self.directory / "notify"
            path.unlink(missing_ok=True)
            notify.bind(str(path))
            notify.settimeout(20)
            with (self.directory / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "agent.launcher", *self.options()],
                    env={**os.environ, "PYTHONPATH": str(TOP), "NOTIFY_SOCKET": str(path)},
                    cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            try:
                assert notify.recv(100) == b"READY=1"
            except TimeoutError:
                raise AssertionError(self.log()) from None

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process = None
        return code

    def purge(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "agent.launcher", "--purge", *self.options()],
            env={**os.environ, "PYTHONPATH": str(TOP)}, cwd="/", check=True, timeout=60,
        )  # fmt: skip

    def leftovers(self) -> list[str]:
        """What a purge should have left nothing of: cgroups, mounts, files."""
        found = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{self.cgroup}")]
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.directory) in line]
        return found + [str(path) for path in (self.state_dir, self.directory / "run") if path.exists()]


@contextmanager
def launched(
    runtime: str = "auto", agent_uid: int | None = None, extra_policy: str = "", netns: str = ""
) -> Generator[Launched]:
    """Not below pytest's tmp_path: mapped users must be able to search the way to a root file system."""
    directory = Path(tempfile.mkdtemp(prefix="launched-", dir="/var/tmp"))
    directory.chmod(0o711)
    if runtime == "crun" and UNIFIED.exists() and UNIFIED.read_text().strip():
        wrapper = directory / "crun"
        wrapper.write_text(_MASKED_CRUN)
        wrapper.chmod(0o755)
        runtime = str(wrapper)
    one = Launched(directory, runtime, os.getuid() if agent_uid is None else agent_uid, extra_policy, netns)
    try:
        one.start()
        yield one
    finally:
        if one.process is not None:
            one.end(signal.SIGKILL)
        one.purge()
        shutil.rmtree(directory)
