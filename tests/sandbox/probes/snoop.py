"""What a job could learn of the host, of the agent and of its neighbours."""

import ctypes
import fcntl
import os
import re
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.sandbox.probes.verdict import (
    CANARY,
    CANARY_KEY,
    CANARY_PORT,
    Held,
    Measured,
    add,
    first,
    libc,
    main,
    probe,
    text,
)

_MASKED = {
    "kcore": "the host's memory",
    "kallsyms": "addresses in the kernel",
    "config.gz": "how the kernel was built",
    "cmdline": "the kernel's command line: disks, keys, consoles",
    "keys": "keys of others",
    "timer_list": "timers of all processes, with addresses",
    "sched_debug": "every process on the host by name",
    "interrupts": "interrupts: keystrokes, network bursts",
    "diskstats": "what the host's disks do",
    "modules": "loaded modules, with addresses",
    "pressure/cpu": "how pressed the host is",
    "kpagecount": "physical pages: row hammer's map",
    "kmsg": "the kernel's log",
    "vmallocinfo": "the kernel's address space",
    "sysvipc/shm": "shared segments",
    "latency_stats": "where all processes wait",
    "acpi/wakeup": "the machine's power wiring",
    "slabinfo": "the kernel's objects, by count",
    "pagetypeinfo": "the kernel's free pages",
    "iomem": "where memory and devices lie",
    "softirqs": "soft interrupts per processor",
    "schedstat": "the scheduler's counters of the host",
    "swaps": "the host's swap",
    "partitions": "the host's disks and their sizes",
    "mdstat": "the host's RAID",
    "locks": "file locks of others",
    "buddyinfo": "free memory by size",
    "zoneinfo": "memory zones",
    "vmstat": "the host's paging counters",
    "key-users": "how many keys each user has",
}
# Without these much of what runs in jobs does not start or counts wrong; what they say is of the whole host.
_KNOWN = ("stat", "meminfo", "loadavg", "uptime", "cpuinfo", "version", "sys/kernel/random/boot_id")


def _reads(name: str) -> Callable[[], str]:
    def attempt() -> str:
        with open(f"/proc/{name}", "rb") as file:
            begin = file.read(4096)
        # Zeros for addresses is how the kernel itself hides them.
        if not begin.strip():
            raise Held("empty")
        if begin.startswith(b"0" * 16) and re.fullmatch(rb"(0{16} [^\n]*\n)*[^\n]*", begin):
            raise Held("addresses are zeros")
        shown = " ".join(begin[:60].decode(errors="replace").split())
        return shown if shown.isprintable() else f"{len(begin)} bytes"

    return attempt


for _name, _says in _MASKED.items():
    add(f"proc-{_name.replace('/', '-')}", "snoop", f"/proc/{_name}: {_says}", _reads(_name))


@probe("snoop", f"facts of the host left readable: /proc/{', '.join(_KNOWN)}")
def known_facts() -> str:
    raise Measured("readable: " + ", ".join(name for name in _KNOWN if os.access(f"/proc/{name}", os.R_OK)))


@probe("snoop", "processes of others: names, arguments, environments")
def processes() -> str:
    own = os.getuid()
    strangers = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        words = Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        if os.stat(f"/proc/{name}").st_uid != own or CANARY in words or "conmon" in words:
            strangers.append(words[:40])
    if strangers:
        return f"{strangers}"
    raise Held("only its own")


def _canary_in(paths: list[Path]) -> str:
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if CANARY.encode() in content:
            return f"{path} holds a secret of another"
    raise Held("not in sight")


@probe("snoop", "a neighbour's files: /tmp, /dev/shm, /work, /run/secrets, the runtime's directories")
def neighbours_files() -> str:
    folders = ("/tmp", "/dev/shm", "/work", "/run/secrets", "/run", "/var/tmp", "/var/lib")
    return _canary_in([Path(base, CANARY) for base in folders] + list(Path("/run").rglob(CANARY)))


@probe("snoop", "secrets in environments: of init, of conmon, of the agent")
def environments() -> str:
    own = {"PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "HOSTNAME", "TERM", "container", "PWD", "SHLVL", "_"}
    more = set(os.environ) - own
    if more:
        return f"{sorted(more)}"
    return _canary_in(list(Path("/proc").glob("[0-9]*/environ")))


@probe("snoop", "an abstract unix socket of a neighbour or of the host")
def abstract_socket() -> str:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(f"\0{CANARY}")
    return "connected"


@probe("snoop", "unix sockets of others in /proc/net/unix")
def unix_sockets() -> str:
    names = [line.split()[-1] for line in text("/proc/net/unix").splitlines()[1:] if len(line.split()) > 7]
    if not names:
        raise Held("none")
    return f"{names[:4]}"


@probe("snoop", "a System V segment of a neighbour or of the host")
def sysv_segment() -> str:
    if libc.shmget(CANARY_KEY, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    return "attached"


@probe("snoop", "a POSIX message queue of a neighbour or of the host")
def message_queue() -> str:
    if libc.mq_open(f"/{CANARY}".encode(), os.O_RDONLY) < 0:
        raise OSError(ctypes.get_errno(), "mq_open")
    return "opened"


@probe("snoop", "a server on the neighbour's or on the host's loopback")
def loopback_port() -> str:
    with socket.create_connection(("127.0.0.1", CANARY_PORT), timeout=1):
        return "connected"


@probe("snoop", "the launcher's, the agent's, mosquitto's and container engines' sockets")
def sockets_of_the_host() -> str:
    paths = ("/run/edge-launcher/launcher.sock", "/run/edge-agent/agent.sock", "/run/edge-agent/api.sock",
             "/var/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock",
             "/run/systemd/private", "/run/dbus/system_bus_socket", "/run/mosquitto/mosquitto.sock")  # fmt: skip

    def reach(path: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.connect(path)
        return path

    return first(*(lambda path=path: reach(path) for path in paths))


@probe("snoop", "files of the agent, the launcher and root: state, keys, policy, shadow")
def files_of_the_host() -> str:
    paths = ("/var/lib/edge-agent", "/var/lib/edge-launcher", "/etc/edge-agent", "/etc/edge-agent/launcher.toml",
             "/etc/shadow", "/root", "/home", "/boot", "/etc/ssh", "/var/log", "/var/tmp", "/srv", "/opt")  # fmt: skip
    seen = [path for path in paths if os.path.exists(path)]
    if seen:
        return f"{seen}"
    raise Held("none of them is there")


@probe("snoop", "paths of the host in mountinfo")
def host_paths() -> str:
    roots = {line.split()[3] for line in text("/proc/self/mountinfo").splitlines()}
    shown = sorted(root for root in roots if re.search(r"/(state|rootfs|overlay|containers?|edge|launcher)", root))
    if shown:
        raise Measured(f"it learns where its root lies: {shown[0]}")
    raise Held("none")


@probe("snoop", "its place in the host's cgroups")
def cgroup_path() -> str:
    paths = {line.split(":", 2)[2] for line in text("/proc/self/cgroup").splitlines()}
    if paths == {"/"}:
        raise Held("all are /")
    return f"{sorted(paths)[:2]}"


@probe("snoop", "neighbours' cgroups and their counters")
def cgroup_tree() -> str:
    seen = [str(path) for path in Path("/sys/fs/cgroup").rglob("cgroup.procs")]
    above = [path for path in seen if path.count("/") > 5]
    if above:
        return f"{above[0]}"
    raise Held(f"{len(seen)} groups in sight, its own")


@probe("snoop", "the host's name")
def host_name() -> str:
    name = os.uname().nodename
    if name == "job" or re.fullmatch(r"[0-9a-f]{12}", name):
        raise Held(f"it is told {name}")
    return name


@probe("snoop", "the host's network interfaces and addresses, by /proc, /sys, ioctl and netlink")
def interfaces() -> str:
    names = {name for _, name in socket.if_nameindex()} | {
        line.split(":")[0].strip() for line in text("/proc/net/dev").splitlines()[2:]
    }
    if os.path.isdir("/sys/class/net"):
        names |= set(os.listdir("/sys/class/net"))
    # tunl0 and its like are templates that some kernels put into each namespace.
    strange = (
        names
        - {"lo", "eth0"}
        - {name for name in names if re.fullmatch(r"(tunl|gre|gretap|sit|ip6tnl|ip_vti|ip6_vti|erspan|ip6gre)0", name)}
    )
    if strange:
        return f"{sorted(strange)}"
    raise Held(f"sees {sorted(names)}")


@probe("snoop", "the host's neighbours and routes (ARP table, routing table)")
def arp_and_routes() -> str:
    arp, routes = text("/proc/net/arp").splitlines()[1:], text("/proc/net/route").splitlines()[1:]
    if arp or routes:
        return f"{len(arp)} neighbours, {len(routes)} routes"
    raise Held("both are empty")


@probe("snoop", "the host's connections (/proc/net/tcp, udp)")
def connections() -> str:
    found = [line for name in ("tcp", "udp", "raw", "tcp6") for line in text(f"/proc/net/{name}").splitlines()[1:]]
    if found:
        return f"{len(found)} sockets"
    raise Held("none")


@probe("snoop", "metadata services of clouds: 169.254.169.254 and its like")
def metadata_addresses() -> str:
    def reach(address: str) -> str:
        with socket.create_connection((address, 80), timeout=1):
            return address

    addresses = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192")
    return first(*(lambda address=address: reach(address) for address in addresses))


@probe("snoop", "devices of the machine in /sys: serial numbers, disks, firmware tables")
def machine_identity() -> str:
    paths = ("/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/board_serial", "/sys/firmware/dmi/tables/DMI",
             "/sys/firmware/acpi/tables/DSDT", "/proc/device-tree/serial-number", "/etc/machine-id")  # fmt: skip
    return first(*(lambda path=path: f"{path}: {Path(path).read_bytes()[:12]!r}" for path in paths))


@probe("snoop", "block devices and modules of the host in /sys")
def sys_listing() -> str:
    seen = [path for path in ("/sys/block", "/sys/module", "/sys/class/block", "/sys/bus/pci/devices")
            if os.path.isdir(path) and os.listdir(path)]  # fmt: skip
    if seen:
        return f"{seen}"
    raise Held("no sysfs")


@probe("snoop", "the kernel's log: dmesg, /dev/kmsg")
def kernel_log() -> str:
    def dmesg() -> str:
        done = subprocess.run(["/usr/bin/dmesg"], capture_output=True, text=True)
        if done.returncode or not done.stdout:
            raise Held("refused")
        return f"{len(done.stdout)} bytes"

    return first(dmesg, lambda: f"{os.read(os.open('/dev/kmsg', os.O_RDONLY | os.O_NONBLOCK), 4096)[:20]!r}")


@probe("snoop", "where its pages lie in physical memory (/proc/self/pagemap)")
def physical_addresses() -> str:
    page = ctypes.create_string_buffer(b"x" * 8192)
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(ctypes.addressof(page) // 4096 * 8)
        frame = struct.unpack("Q", file.read(8))[0] & (1 << 55) - 1
    if frame == 0:
        raise Held("the frame numbers are zeros")
    return f"frame {frame:#x}"


@probe("snoop", "terminals of others in /dev/pts")
def terminals() -> str:
    names = [name for name in os.listdir("/dev/pts") if name.isdigit()]
    if names or os.path.exists("/dev/console"):
        return f"{names}"
    raise Held("none")


@probe("snoop", "who logged in and audit's session of whoever started it (loginuid)")
def login_uid() -> str:
    value = text("/proc/self/loginuid").strip()
    if value == "4294967295":
        raise Held("unset")
    return f"loginuid {value}"


@probe("snoop", "the machine's own additions in /usr/local")
def usr_local() -> str:
    inside = os.listdir("/usr/local")
    if inside:
        return f"{len(inside)} entries"
    raise Held("empty")


@probe("snoop", "a disk's extents by FIEMAP and FIBMAP on a file of /usr")
def file_extents() -> str:
    with open("/usr/bin/python3", "rb") as file:
        try:
            block = struct.unpack("i", fcntl.ioctl(file, 1, struct.pack("i", 0)))[0]  # FIBMAP
        except OSError as error:
            raise Held(f"FIBMAP: {error.strerror}") from error
    return f"first block {block}"


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
