"""The steps that a plan is made of: what is done, described, before it is done. Pure; `execute` does them."""

from dataclasses import dataclass, field
from pathlib import Path

from agent.launcher.storage import Step


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    path: Path
    mode: int

    def describe(self) -> str:
        return f"mkdir -m {self.mode:04o} {self.path}"


@dataclass(frozen=True, slots=True)
class WriteFile:
    """A file of root's; the content replaces what was there, as a whole.

    `in_place` keeps the file that is there (its inode): whoever has it mounted sees the new content.
    """

    path: Path
    text: str
    mode: int
    in_place: bool = False

    def describe(self) -> str:
        return f"write {self.path} ({len(self.text)} bytes, mode {self.mode:04o})"


@dataclass(frozen=True, slots=True)
class MakeLink:
    path: Path
    target: str

    def describe(self) -> str:
        return f"symlink {self.path} -> {self.target}"


@dataclass(frozen=True, slots=True)
class MakeCgroup:
    """A cgroup; `enable` are the v2 controllers that its children get."""

    path: Path
    enable: tuple[str, ...] = ()

    def describe(self) -> str:
        return f"cgroup {self.path}" + (f" enabling {' '.join(self.enable)} below" if self.enable else "")


@dataclass(frozen=True, slots=True)
class SetCgroup:
    path: Path
    text: str

    def describe(self) -> str:
        return f"set {self.path} = {self.text}"


@dataclass(frozen=True, slots=True)
class StartMonitor:
    """Put conmon in `cgroups` before it runs, then let it create the sandbox, stopped before the job's first step."""

    argv: tuple[str, ...]
    cgroups: tuple[Path, ...]
    pid_file: Path
    oom_score_adj: int  # the job's, which it can't lower

    def describe(self) -> str:
        return f"create, in {' '.join(map(str, self.cgroups))}: {' '.join(self.argv)}"


@dataclass(frozen=True, slots=True)
class StartJob:
    """`gate` is the FIFO that a created sandbox of runc waits at: who reads it has done what `runc start` does.

    Without one, or when it isn't there, `argv` is run.
    """

    argv: tuple[str, ...]
    gate: Path | None = None

    def describe(self) -> str:
        return f"start: {f'read {self.gate}, or ' if self.gate else ''}{' '.join(self.argv)}"


@dataclass(frozen=True, slots=True)
class Run:
    """A command of this machine's; `stdin` is what it reads, `why` is for people.

    It must exit 0, unless it `may_fail`: then it takes away something that may be gone already.
    """

    argv: tuple[str, ...]
    stdin: str = ""
    why: str = ""
    may_fail: bool = False

    def describe(self) -> str:
        lines = f" < {len(self.stdin)} bytes" if self.stdin else ""
        return f"run{f' ({self.why})' if self.why else ''}: {' '.join(self.argv)}{lines}"


@dataclass(frozen=True, slots=True)
class Mount:
    """mount(2) without a process: `flags` are MS_* of <linux/mount.h>, `data` the file system's own options."""

    source: str
    path: Path
    kind: str  # "tmpfs", "ext4"; "none" with MS_BIND
    flags: int
    data: str = ""

    def describe(self) -> str:
        return f"mount -t {self.kind} -o {self.data or 'defaults'} (flags {self.flags:#x}) {self.source} {self.path}"


@dataclass(frozen=True, slots=True)
class Unmount:
    """umount2(2), lazily; nothing when nothing is mounted there."""

    path: Path

    def describe(self) -> str:
        return f"umount -l {self.path}"


@dataclass(frozen=True, slots=True)
class WriteSecrets:
    """Files 0400 of `uid`, in memory. What they hold is in no description and no message."""

    directory: Path
    uid: int
    names: tuple[str, ...]
    contents: tuple[bytes, ...] = field(repr=False)

    def describe(self) -> str:
        return f"write {len(self.names)} secrets of uid {self.uid} to {self.directory}: {' '.join(self.names)}"


Operation = (
    MakeDirectory
    | WriteFile
    | MakeLink
    | MakeCgroup
    | SetCgroup
    | StartMonitor
    | StartJob
    | Run
    | Mount
    | Unmount
    | WriteSecrets
    | Step
)
Plan = tuple[Operation, ...]
