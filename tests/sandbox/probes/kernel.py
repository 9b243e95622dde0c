"""Ways out by files, devices, privileges and what the runtime may have left open."""

import contextlib
import ctypes
import errno
import fcntl
import os
import pty
import resource
import shutil
import signal
import stat
import subprocess
import termios
from pathlib import Path

from tests.sandbox.probes.verdict import Held, Measured, first, libc, main, probe, text, writable

_TIOCSTI = 0x5412


@probe("escape", "write core_pattern: the host's kernel runs its program as root of the host")
def core_pattern() -> str:
    return writable("/proc/sys/kernel/core_pattern")


@probe("escape", "write modprobe's path, binfmt_misc, uevent_helper: more programs the kernel runs")
def kernel_helpers() -> str:
    return first(
        lambda: writable("/proc/sys/kernel/modprobe"),
        lambda: writable("/proc/sys/kernel/hotplug"),
        lambda: writable("/proc/sys/fs/binfmt_misc/register"),
        lambda: writable("/sys/kernel/uevent_helper"),
        lambda: writable("/sys/kernel/security/apparmor/.load"),
    )


@probe("escape", "cgroup v1 release_agent, in every hierarchy")
def release_agent() -> str:
    paths = [str(path) for path in Path("/sys/fs/cgroup").glob("*/release_agent")]
    if not paths:
        raise Held("no cgroup file system in sight")
    return first(*(lambda path=path: writable(path) for path in paths))


@probe("escape", "raise one's own limits in the cgroup")
def cgroup_limits() -> str:
    names = ("memory.max", "pids.max", "cpu.max", "memory/memory.limit_in_bytes", "pids/pids.max", "cgroup.procs")
    found = [str(p) for name in names if (p := Path("/sys/fs/cgroup", name)).exists()]
    if not found:
        raise Held("no cgroup file system in sight")
    return first(*(lambda path=path: writable(path) for path in found))


@probe("escape", "sysrq-trigger: crash or reboot the host")
def sysrq() -> str:
    return writable("/proc/sysrq-trigger")


@probe("escape", "write any setting below /proc/sys")
def sysctl() -> str:
    open_to_us = []
    for path in Path("/proc/sys").rglob("*"):
        try:
            if stat.S_ISREG(path.stat().st_mode):
                open_to_us.append(writable(str(path)))
        except OSError:
            continue
    if not open_to_us:
        raise Held("all refused")
    return f"{len(open_to_us)} settings, {open_to_us[0]}"


@probe("escape", "write anything below /sys")
def sysfs() -> str:
    return first(
        lambda: writable("/sys/power/state"),
        lambda: writable("/sys/kernel/mm/ksm/run"),
        lambda: writable("/sys/kernel/mm/transparent_hugepage/enabled"),
        lambda: writable("/sys/class/net/lo/mtu"),
        lambda: writable("/sys/module/kernel/parameters/panic"),
    )


@probe("escape", "tracefs, debugfs, securityfs, bpf file system, efivars")
def kernel_file_systems() -> str:
    folders = ("tracing", "debug", "security", "config", "fs/bpf")
    paths = [Path("/sys/kernel", name) for name in folders] + [Path("/sys/fs/bpf"), Path("/sys/firmware/efi/efivars")]
    for path in paths:
        try:
            inside = os.listdir(path)
        except OSError:
            continue
        if inside:
            return f"{path} holds {inside[0]}"
    raise Held("not there, or empty")


@probe("escape", "device nodes: memory, ports, kernel log, disks, KVM, FUSE, tunnels, loop control")
def devices() -> str:
    names = ("mem", "port", "kmsg", "kvm", "fuse", "net/tun", "loop-control", "vhost-net", "sda", "vda", "nvme0n1",
             "userfaultfd", "uinput", "snapshot", "mapper/control", "dri/card0", "video0", "ttyS0")  # fmt: skip
    return first(*(lambda name=name: writable(f"/dev/{name}") for name in names))


@probe("escape", "mknod: a block device and a character device of one's own")
def mknod() -> str:
    def make(kind: int, major: int, minor: int) -> str:
        path = f"/tmp/node-{major}"
        os.mknod(path, kind | 0o666, os.makedev(major, minor))
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError as error:
            return f"made node {major}:{minor}, opening it: {errno.errorcode[error.errno or 0]}"
        return f"made and opened {major}:{minor}"

    return first(lambda: make(stat.S_IFCHR, 1, 1), lambda: make(stat.S_IFBLK, 7, 0), lambda: make(stat.S_IFCHR, 1, 5))


@probe("escape", "devices beyond null, zero, full, random, urandom, tty in /dev")
def dev_listing() -> str:
    harmless = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}
    more = [entry.name for entry in os.scandir("/dev") if not entry.is_dir() and not entry.is_symlink()]
    if set(more) <= harmless:
        raise Held("only those")
    return f"also {', '.join(sorted(set(more) - harmless))}"


@probe("escape", "write to the root file system, /usr, /etc, /proc")
def root_file_system() -> str:
    def write(folder: str) -> str:
        path = Path(folder, "probe")
        path.write_text("x")
        path.unlink()
        return f"wrote to {folder}"

    return first(*(lambda folder=folder: write(folder) for folder in ("/", "/etc", "/usr", "/usr/bin", "/run", "/var")))


@probe("escape", "bound files: write to ld.so.cache, hosts, passwd")
def bound_files() -> str:
    names = ("/etc/ld.so.cache", "/etc/hosts", "/etc/passwd", "/etc/hostname", "/etc/resolv.conf", "/usr/bin/python3")
    return first(*(lambda name=name: writable(name) for name in names))


@probe("escape", "overwrite the runtime through /proc/1/exe and /proc/self/exe (CVE-2019-5736)")
def proc_exe() -> str:
    return first(
        lambda: writable("/proc/1/exe"),
        lambda: writable("/proc/self/exe"),
        lambda: writable(f"/proc/self/fd/{os.open('/proc/self/exe', os.O_PATH)}"),
    )


@probe("escape", "a descriptor or working directory leaked by conmon or the runtime (CVE-2024-21626)")
def leaked_descriptors() -> str:
    leaks = []
    for holder in ("1", str(os.getppid())):
        try:
            names = os.listdir(f"/proc/{holder}/fd")
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"/proc/{holder}/fd/{name}")
            except OSError:
                continue
            if not target.startswith(("pipe:", "/dev/null", "anon_inode:[eventpoll]", "anon_inode:[signalfd]")):
                leaks.append(f"{holder}/{name} -> {target}")
    outside = Path("/proc/self/cwd/../../../../../../etc/shadow").exists() or not os.getcwd().startswith("/")
    if leaks or outside:
        return f"{leaks}, cwd {os.getcwd()}"
    raise Held("pipes and /dev/null alone, cwd inside")


@probe("escape", "gain by init (pid 1), whose memory a job may write: more rights than the job's, another root")
def more_by_init() -> str:
    names = ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    own, init = (_status(name) for name in ("self", "1"))
    more = [f"{name} {init[name]}" for name in names if init[name] != own[name]]
    # Of our own pid namespace: the root that it shows has to be ours.
    if Path("/proc/1/root/.").stat().st_ino != Path("/").stat().st_ino:
        more.append("another root")
    if more:
        return ", ".join(more)
    raise Held("init has the job's own user, rights, filter and root")


def _status(process: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text(f"/proc/{process}/status").splitlines() if ":\t" in line)


@probe("escape", "capabilities: any in any set")
def capabilities() -> str:
    found = {line.split(":")[0]: line.split()[1] for line in text("/proc/self/status").splitlines() if "Cap" in line}
    if all(int(value, 16) == 0 for value in found.values()):
        raise Held("all five sets are empty")
    return f"CapEff {found['CapEff']}, CapBnd {found['CapBnd']}"


@probe("escape", "become uid 0, or another user, by setuid")
def set_uid() -> str:
    if os.getuid() == 0:
        return "is uid 0 from the start" + ("" if _mapped() else ", which is root of the host")
    for uid in (0, 1, 65534):
        try:
            os.setresuid(uid, uid, uid)
        except OSError:
            continue
        return f"now uid {os.getuid()}"
    raise Held("EPERM")


def _mapped() -> bool:
    return text("/proc/self/uid_map").split()[:2] != ["0", "0"]


@probe("escape", "uid 0 here is uid 0 of the host")
def own_ids() -> str:
    inside, outside, size = map(int, text("/proc/self/uid_map").split()[:3])
    if outside >= 65536 and size <= 65536:
        raise Held(f"ids {inside}..{inside + size - 1} are {outside}..{outside + size - 1}")
    return f"uid_map {inside} {outside} {size}"


@probe("escape", "write uid_map, gid_map, setgroups")
def uid_map() -> str:
    def write(name: str, words: str) -> str:
        with open(f"/proc/self/{name}", "w") as file:
            file.write(words)
        return f"wrote {name}"

    return first(
        lambda: write("uid_map", "0 0 1"), lambda: write("gid_map", "0 0 1"), lambda: write("setgroups", "allow")
    )


@probe("escape", "newuidmap: a user namespace by the host's setuid helper")
def newuidmap() -> str:
    tool = shutil.which("newuidmap") or "/usr/bin/newuidmap"
    if not os.access(tool, os.X_OK):
        # What the helper is needed for: a namespace whose map somebody else writes.
        if libc.unshare(0x10000000) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        return "no helper here, but a namespace to use it on"
    done = subprocess.run([tool, str(os.getpid()), "0", "100000", "1"], capture_output=True, text=True)
    if done.returncode:
        raise Held(done.stderr[:80])
    return "a map was written"


@probe("escape", "setuid programs of /usr (su, mount, passwd): do they become root?")
def setuid_programs() -> str:
    programs = [e.path for e in os.scandir("/usr/bin") if e.is_file() and e.stat().st_mode & stat.S_ISUID]
    flags = os.statvfs("/usr").f_flag
    no_new_privs = "NoNewPrivs:\t1" in text("/proc/self/status")
    if flags & os.ST_NOSUID and no_new_privs:
        raise Held(f"{len(programs)} in sight, inert: nosuid and no_new_privs")
    return f"{len(programs)} in sight; nosuid {bool(flags & os.ST_NOSUID)}, no_new_privs {no_new_privs}"


@probe("escape", "a setuid program of one's own in /work")
def own_setuid_program() -> str:
    mine = Path("/work/id")
    shutil.copy("/usr/bin/id", mine)
    os.chmod(mine, 0o6755)
    if os.statvfs("/work").f_flag & os.ST_NOSUID and "NoNewPrivs:\t1" in text("/proc/self/status"):
        raise Held("made, and inert: nosuid and no_new_privs")
    return "made, and nothing makes it inert but who owns it"


@probe("escape", "lower one's OOM score below what the host's own programs have")
def oom_score() -> str:
    before = lowest = int(text("/proc/self/oom_score_adj"))
    for wanted in (499, 0, -1, -500):
        try:
            Path("/proc/self/oom_score_adj").write_text(str(wanted))
        except OSError:
            break
        lowest = wanted
    if lowest < 0:
        return f"{before} is now {lowest}"
    raise Held(f"{before}, and no lower than {lowest}")


@probe("escape", "be first on the processor: nice below 0, real-time priority")
def priority() -> str:
    def nice() -> str:
        os.setpriority(os.PRIO_PROCESS, 0, -5)
        return "nice -5"

    def real_time() -> str:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        return "SCHED_FIFO"

    return first(nice, real_time)


@probe("escape", "raise a hard limit: files, processes, core, memory locked")
def hard_limits() -> str:
    def rise(which: int) -> str:
        soft, hard = resource.getrlimit(which)
        if hard == resource.RLIM_INFINITY:
            raise Held("unlimited by rlimit")
        try:
            resource.setrlimit(which, (soft, hard + 1))
        except ValueError:
            raise Held("EPERM") from None
        return f"limit {which} is {hard + 1}"

    kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE)
    return first(*(lambda kind=kind: rise(kind) for kind in kinds))


@probe("escape", "core dumps, where a program takes them (systemd-coredump): can secrets land there?")
def core_dump() -> str:
    # At 1, and only there, a core_pattern that is a program gets none either: a job must not lower it.
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if (soft, hard) == (1, 1):
        raise Held("RLIMIT_CORE 1")
    return f"RLIMIT_CORE {soft}, {hard}"


@probe("escape", "type into another's terminal (TIOCSTI)")
def tiocsti() -> str:
    main_end, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSCTTY, 0)
    try:
        fcntl.ioctl(other, _TIOCSTI, b"x")
    except OSError as error:
        if error.errno in (errno.EIO, errno.EPERM):
            raise Held(f"{errno.errorcode[error.errno]}, on a terminal of its own") from error
        raise
    names = [str(path) for path in Path("/dev/pts").glob("[0-9]*")]
    if names == [os.ttyname(other)]:
        raise Held("only on the terminal it made itself; no other is in sight")
    return f"terminals {names}, {main_end}"


@probe("escape", "signal processes that are not the job's own: pids 1..400,000, and up the parents")
def signal_others() -> str:
    # With signal 0, which only asks. All that is found has to be in our own /proc.
    own = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    found = [pid for pid in range(1, 400_000) if libc.kill(pid, 0) == 0]
    reached = [pid for pid in found if pid not in own and not Path(f"/proc/{pid}").exists()]
    strangers = [pid for pid in own if Path(f"/proc/{pid}/comm").exists() and text(f"/proc/{pid}/comm") == "conmon\n"]
    if reached or strangers:
        return f"reached {reached[:5]} {strangers}"
    raise Held(f"only its own {len(own)} processes")


@probe("escape", "end the job's init, to run on without it")
def kill_init() -> str:
    if os.getuid() == 0:
        raise Measured("not tried as root: it ends this very probe")
    os.kill(1, signal.SIGSTOP)
    if "T (stopped)" in text("/proc/1/status"):
        return "init is stopped"
    raise Held("init of a pid namespace is not stopped from inside")


@probe("escape", "/proc by another name: sys through /proc/self/root, task and thread-self")
def masked_by_another_name() -> str:
    ways = ("/proc/self/root", "/proc/self/task/../../../proc/1/root", "/proc/thread-self/root", "/dev/fd/../../..")
    for way in ways:
        for name in ("proc/kcore", "proc/keys", "proc/timer_list", "proc/kmsg"):
            try:
                with open(f"{way}/{name}", "rb") as file:
                    if file.read(16):
                        return f"{way}/{name}"
            except OSError:
                continue
    raise Held("masked there as well")


@probe("escape", "execute from memory what is not on disk: the filter goes along")
def memfd_exec() -> str:
    code = "import ctypes; print(ctypes.CDLL(None, use_errno=True).unshare(0x10000000))"
    fd = os.memfd_create("probe")
    with open("/usr/bin/python3", "rb") as python:
        os.write(fd, python.read())
    done = subprocess.run([f"/proc/self/fd/{fd}", "-c", code], pass_fds=(fd,), capture_output=True, text=True)
    if done.stdout.strip() == "-1":
        raise Held("runs, and is refused unshare as before")
    return f"unshare by it: {done.stdout.strip() or done.stderr[-80:]}"


@probe("escape", "a path longer than PATH_MAX, to lose the kernel's and the runtime's checks")
def overlong_path() -> str:
    os.chdir("/tmp")
    for _ in range(40):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    here = os.open(".", os.O_RDONLY)
    back = os.open("/".join([".."] * 60), os.O_RDONLY)
    inode, root = os.fstat(back).st_ino, Path("/").stat().st_ino
    fcntl.fcntl(here, fcntl.F_GETFD)
    if inode == root:
        raise Held("8,000 characters deep, the way up ends at the job's root")
    return "the way up ends elsewhere"


@probe("escape", "swap a directory for a symbolic link while a path is walked (cwd race)")
def rename_race() -> str:
    Path("/tmp/race/in").mkdir(parents=True)
    os.symlink("/proc/1/root/../../..", "/tmp/race/out")
    inside = {(place.st_dev, place.st_ino) for place in map(os.stat, ("/", "/tmp"))}
    outside = 0
    child = os.fork()
    if child == 0:
        while True:
            libc.renameat2(-100, b"/tmp/race/in", -100, b"/tmp/race/out", 2)  # RENAME_EXCHANGE
    try:
        for _ in range(20_000):
            try:
                there = os.stat("/tmp/race/in/../../..")
            except OSError:
                continue
            outside += (there.st_dev, there.st_ino) not in inside
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if outside:
        return f"{outside} times outside"
    raise Held("20,000 walks, none left the job's root")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
