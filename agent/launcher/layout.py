"""Where everything of a run is, on disk and in the cgroup hierarchies. Pure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.launcher.protocol import HostFacts

CgroupKind = Literal["v2", "v1-hybrid", "v1"]

# Ranges of user ids for runs: 1879048192 (0x70000000) and up is documented as unused by
# https://systemd.io/UIDS-GIDS; 512 ranges end at 1912602624, far below the next one
# it names (2130706432 in newer editions).
UID_BASE = 0x7000_0000
UID_COUNT = 65536
SLOTS = 512  # also bounds the runs that are kept until removed


@dataclass(frozen=True, slots=True)
class Tree:
    """The cgroups under which runs live.

    `mounts` are (controller, mount point); on v2 it is one pair with an empty controller. "unified" is the v2
    tree of a hybrid host. `parent` is the same path, from the mount point, in each. `top` is what was delegated
    to us: on v2 nothing above it is touched.
    """

    kind: CgroupKind
    parent: str
    mounts: tuple[tuple[str, Path], ...]
    top: str = "/"

    def run(self, run: str) -> str:
        # A prefix, because a run may be called "cpu.max" and cgroup directories hold files of such names.
        return f"{self.parent.rstrip('/')}/run-{run}"

    def job(self, run: str) -> str:
        """What the OCI runtime is given as cgroupsPath."""
        return f"{self.run(run)}/job"

    def monitor(self, run: str) -> str:
        return f"{self.run(run)}/monitor"

    def at(self, controller: str, path: str) -> Path:
        """`path` in the hierarchy of `controller`. Raises KeyError when this host lacks it."""
        wanted = "" if self.kind == "v2" else controller
        return dict(self.mounts)[wanted] / path.lstrip("/")

    def everywhere(self, path: str) -> tuple[Path, ...]:
        return tuple(mount / path.lstrip("/") for _, mount in self.mounts)


@dataclass(frozen=True, slots=True)
class RunPlaces:
    """Files of one run. What is written while it runs is in the run directory (a tmpfs).

    A flooding job must not wear out an SD card, and an exit code must not be lost to a full disk.
    """

    directory: Path
    log: Path
    live: Path  # of this boot
    secrets: Path
    mqtt: Path

    @property
    def record(self) -> Path:
        return self.directory / "record.json"

    @property
    def config(self) -> Path:
        return self.directory / "config.json"

    @property
    def monitor_pid(self) -> Path:
        return self.live / "monitor.pid"

    @property
    def job_pid(self) -> Path:
        return self.live / "job.pid"

    @property
    def check(self) -> Path:
        """What a health check inside the run is, for the runtime."""
        return self.live / "check.json"

    @property
    def exit(self) -> Path:
        """Conmon writes it by rename: the decimal exit code, 128+n for signal n."""
        return self.live / "exit"

    @property
    def oom(self) -> Path:
        return self.live / "oom"


@dataclass(frozen=True, slots=True)
class Places:
    """The launcher's own directories. Both must be searchable by mapped users (0711), contents are root's alone."""

    state_dir: Path
    run_dir: Path

    @property
    def runs(self) -> Path:
        return self.state_dir / "runs"

    @property
    def rootfs(self) -> Path:
        """The skeleton root of the 'host' image, shared read-only by all runs."""
        return self.state_dir / "host-rootfs"

    @property
    def logs(self) -> Path:
        return self.run_dir / "logs"

    @property
    def live(self) -> Path:
        return self.run_dir / "live"

    @property
    def secrets(self) -> Path:
        """Mount points of file systems in memory, each as long as its sandbox is being made."""
        return self.run_dir / "secrets"

    @property
    def mqtt(self) -> Path:
        """As secrets: where the broker's directory is mounted, whose own path a mapped user can't search."""
        return self.run_dir / "mqtt"

    @property
    def key(self) -> Path:
        """Of this boot: what a held run's request is known by."""
        return self.run_dir / "key"

    @property
    def runtime(self) -> Path:
        """State of crun or runc: the reason why launchers with different directories never meet."""
        return self.run_dir / "runtime"

    @property
    def socket(self) -> Path:
        return self.run_dir / "launcher.sock"

    @property
    def lock(self) -> Path:
        return self.state_dir / "lock"

    def run(self, run: str) -> RunPlaces:
        return RunPlaces(
            directory=self.runs / run,
            log=self.logs / run,
            live=self.live / run,
            secrets=self.secrets / run,
            mqtt=self.mqtt / run,
        )


@dataclass(frozen=True, slots=True)
class Host:
    """What a plan must know of this machine."""

    facts: HostFacts
    machine: str  # uname -m
    runtime: Path
    conmon: Path
    init: Path
    tree: Tree
    places: Places
    etc: tuple[Path, ...]  # harmless files of /etc that programs in /usr need and that exist here
    netns: Path | None = None  # the network namespace where the host's side of runs' networks lives; None = our own
    network: str = ""  # where runs' addresses are from, "10.222.0.0/16"; facts say whether they can have one
    router: bool = False  # it forwarded packets before any run had a network, and goes on to
    forwarding: bool = False  # it does since an earlier launcher made it, for runs alone
    ipv6: bool = True  # the kernel knows it; runs never get it
    noswap: bool = False  # the kernel's tmpfs can be told to stay in memory (Linux 6.4)
    apparmor: str = ""  # the profile of every run; empty = this machine has none
    mqtt_dir: Path | None = None  # where the broker's socket for runs is; None = runs have no way to it
    state_device: str = ""  # "8:0", the whole disk under the state directory; empty = not one that can be limited


def uid_base(slot: int) -> int:
    """First host user id of the range that belongs to `slot` alone."""
    if not 0 <= slot < SLOTS:
        raise ValueError(f"slot {slot}: 0..{SLOTS - 1}")
    return UID_BASE + UID_COUNT * slot
