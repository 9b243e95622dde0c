"""System calls that a job must not make: each is tried with arguments that harm nobody should it be let through."""

import ctypes
import errno
import mmap
import os
import platform
import signal
import socket
import struct
import time
from collections.abc import Callable

from tests.sandbox.probes.verdict import REFUSALS, Held, add, call, libc, main, probe, text

MACHINE = platform.machine()
_NEW_USER, _NEW_NS, _NEW_NET = 0x10000000, 0x00020000, 0x40000000
_AT_FDCWD = -100
_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
_room = ctypes.create_string_buffer(4096)
Args = tuple[object, ...] | Callable[[], tuple[object, ...]]


def _now() -> tuple[object, ...]:
    return (time.CLOCK_REALTIME, struct.pack("ll", *divmod(time.time_ns(), 10**9)))


def _now_micro() -> tuple[object, ...]:
    seconds, nano = divmod(time.time_ns(), 10**9)
    return (struct.pack("ll", seconds, nano // 1000), None)


def _other_memory() -> tuple[object, ...]:
    """Eight bytes of the parent, which has them where we do."""
    iovec = struct.pack("QQ", ctypes.addressof(_room), 8)
    return (os.getppid(), iovec, 1, iovec, 1, 0)


def _event() -> tuple[object, ...]:
    """A software clock, of user space only (perf_event_open(2))."""
    exclude = 1 << 5 | 1 << 6  # kernel, hypervisor
    return (struct.pack("IIQQQQQ", 1, 112, 0, 0, 0, 0, exclude) + bytes(72), 0, -1, -1, 0)


def _segment() -> tuple[object, ...]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    return (write, struct.pack("QQ", ctypes.addressof(_room), 8), 1, 0)


_HANDLE = struct.pack("II8s", 8, 1, b"")
# name: (number on x86-64, on aarch64 (None: not there), arguments, what it is)
_CALLS: dict[str, tuple[int, int | None, Args, str]] = {
    "mount": (165, 40, (b"none", b"/tmp", b"tmpfs", 0, None), "mount a file system"),
    "umount2": (166, 39, (b"/usr/bin", 0), "unmount"),
    "pivot_root": (155, 41, (b".", b"."), "change the root of the mount namespace"),
    "chroot": (161, 51, (b"/",), "change one's root"),
    "unshare-user": (272, 97, (_NEW_USER,), "a user namespace of its own, with all capabilities in it"),
    "unshare-mount": (272, 97, (_NEW_NS,), "a mount namespace of its own"),
    "unshare-net": (272, 97, (_NEW_NET,), "a network namespace of its own"),
    "setns": (308, 268, lambda: (os.open("/proc/self/ns/uts", os.O_RDONLY), 0), "join a namespace"),
    "fsopen": (430, 430, (b"tmpfs", 0), "the new mount calls: fsopen"),
    "open_tree": (428, 428, (_AT_FDCWD, b"/", 1), "the new mount calls: a copy of the mount tree"),
    "move_mount": (429, 429, (-1, b"", -1, b"", 0), "the new mount calls: move_mount"),
    "mount_setattr": (442, 442, (_AT_FDCWD, b"/tmp", 0, bytes(32), 32), "the new mount calls: remount writable"),
    "keyctl": (250, 219, (0, -3, 1), "the kernel's keyrings: the session's"),
    "add_key": (248, 217, (b"user", b"probe", b"x", 1, -3), "the kernel's keyrings: add a key"),
    "request_key": (249, 218, (b"user", b"probe", None, 0), "the kernel's keyrings: ask for a key"),
    "bpf": (321, 280, (0, struct.pack("IIII", 2, 4, 8, 1) + bytes(100), 116), "make an eBPF map"),
    "io_uring_setup": (425, 425, (1, bytes(120)), "an io_uring, past the filter for what runs in it"),
    "userfaultfd": (323, 282, (1,), "userfaultfd, the tool that widens kernel races"),
    "ptrace": (101, 117, (0, 0, None, None), "ptrace"),
    "process_vm_readv": (310, 270, _other_memory, "read another process's memory"),
    "process_vm_writev": (311, 271, _other_memory, "write another process's memory"),
    "process_madvise": (440, 440, (-1, None, 0, 4, 0), "advise about another process's memory"),
    "kcmp": (312, 272, lambda: (os.getpid(), os.getppid(), 1, 0, 0), "compare kernel objects: addresses leak"),
    "pidfd_getfd": (438, 438, lambda: (os.pidfd_open(os.getppid()), 1, 0), "take a descriptor out of another process"),
    "perf_event_open": (298, 241, _event, "performance counters"),
    "name_to_handle_at": (303, 264, (_AT_FDCWD, b"/usr", struct.pack("Ii128x", 128, 0), _room, 0), "a file's handle"),
    "open_by_handle_at": (304, 265, (_AT_FDCWD, _HANDLE, 0), "open any inode by its handle, past all paths"),
    "personality": (135, 92, (0x0040000,), "switch off address randomisation"),
    "kexec_load": (246, 104, (0, 0, None, 0xFFFF0000), "load another kernel"),
    "kexec_file_load": (320, 294, (-1, -1, 0, None, 0xFF), "load another kernel from a file"),
    "reboot": (169, 142, (0, 0, 0, None), "reboot"),
    "swapon": (167, 224, (b"/nonexistent", 0), "add swap"),
    "swapoff": (168, 225, (b"/nonexistent",), "take swap away"),
    "quotactl": (179, 60, (0x800001 << 8, None, 0, None), "disk quotas"),
    "init_module": (175, 105, (_room, 0, b""), "load a kernel module"),
    "finit_module": (313, 273, (-1, b"", 0), "load a kernel module from a file"),
    "delete_module": (176, 106, (b"nonexistent", os.O_NONBLOCK), "remove a kernel module"),
    "syslog": (103, 116, (3, _room, 4096), "read the kernel's log"),
    "clock_settime": (227, 112, _now, "set the clock (to what it is)"),
    "settimeofday": (164, 170, _now_micro, "set the clock, the old way"),
    "adjtimex": (159, 171, (struct.pack("I", 0x0100) + bytes(204),), "shift the clock (by nothing)"),
    "sethostname": (170, 161, (b"probe", 5), "set the host name"),
    "setdomainname": (171, 162, (b"probe", 5), "set the domain name"),
    "acct": (163, 89, (None,), "process accounting"),
    "iopl": (172, None, (3,), "all I/O ports"),
    "ioperm": (173, None, (0x80, 1, 1), "one I/O port"),
    "modify_ldt": (154, None, (0, _room, 16), "the processor's segment table"),
    "vmsplice": (278, 75, _segment, "map own pages into a pipe (Dirty Pipe's family)"),
    "fanotify_init": (300, 262, (0, 0), "watch a whole file system"),
    "move_pages": (279, 239, (0, 0, None, None, None, 0), "move pages between memory nodes"),
    "migrate_pages": (256, 238, (0, 1, None, None), "move a process's memory"),
    "mbind": (237, 235, (None, 0, 0, None, 0, 0), "bind memory to a node"),
    "memfd_secret": (447, 447, (0,), "memory that the kernel itself can't see"),
    "vhangup": (153, 58, (), "hang up the terminal"),
    "inotify_init1": (294, 26, (0,), "inotify, whose instances are counted against root of the host"),
    "io_setup": (206, 0, (8, struct.pack("Q", 0)), "asynchronous I/O, a number that all share (fs.aio-max-nr)"),
    "sync": (162, 81, (), "write out all of the host's disks"),
}  # fmt: skip


def _tries(x86: int, arm: int | None, args: Args) -> Callable[[], str]:
    def attempt() -> str:
        number = {"x86_64": x86, "aarch64": arm}.get(MACHINE)
        if number is None:
            raise Held(f"not a system call of {MACHINE}")
        try:
            done = call(number, *(args() if callable(args) else args))
        except OSError as error:
            if error.errno in _REFUSED:
                raise
            return f"past the gate: {errno.errorcode[error.errno or 0]}"
        return f"allowed ({done})"

    return attempt


for _name, (_x86, _arm, _args, _says) in _CALLS.items():
    add(_name, "escape", _says, _tries(_x86, _arm, _args))

_SOCKETS = {
    "af-alg": (38, socket.SOCK_SEQPACKET, 0, "the kernel's crypto, AF_ALG"),
    "af-vsock": (40, socket.SOCK_STREAM, 0, "the hypervisor, AF_VSOCK"),
    "af-packet": (17, socket.SOCK_RAW, 0, "link-layer frames, AF_PACKET"),
    "raw-icmp": (2, socket.SOCK_RAW, 1, "raw IP packets"),
    "raw-ipv6": (10, socket.SOCK_RAW, 255, "raw IPv6 packets"),
    "ping-socket": (2, socket.SOCK_DGRAM, 1, "ICMP without privilege"),
    "sctp": (2, socket.SOCK_STREAM, 132, "SCTP: a module that nobody asked for is loaded"),
    "mptcp": (2, socket.SOCK_STREAM, 262, "multipath TCP"),
    "af-bluetooth": (31, socket.SOCK_RAW, 1, "Bluetooth"),
    "af-can": (29, socket.SOCK_RAW, 1, "a vehicle's CAN bus"),
    "af-key": (15, socket.SOCK_RAW, 2, "IPsec keys"),
    "af-xdp": (44, socket.SOCK_RAW, 0, "AF_XDP"),
    "netlink-uevent": (16, socket.SOCK_DGRAM, 15, "netlink: the host's device events"),
    "netlink-audit": (16, socket.SOCK_RAW, 9, "netlink: the audit log"),
    "netlink-netfilter": (16, socket.SOCK_RAW, 12, "netlink: the firewall"),
    "netlink-sock-diag": (16, socket.SOCK_DGRAM, 4, "netlink: everybody's sockets"),
    "netlink-generic": (16, socket.SOCK_DGRAM, 16, "netlink: every generic family (nl80211, wireguard)"),
}


def _opens(family: int, kind: int, protocol: int) -> Callable[[], str]:
    def attempt() -> str:
        try:
            with socket.socket(family, kind, protocol):
                return "the socket is open"
        except OSError as error:
            if error.errno in REFUSALS:
                raise
            return f"past the gate: {errno.errorcode[error.errno or 0]}"

    return attempt


for _name, (_family, _kind, _protocol, _says) in _SOCKETS.items():
    add(_name, "escape", _says, _opens(_family, _kind, _protocol))


def _cloned(number: int, *args: object) -> str:
    child = call(number, *args)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a process in a user namespace of its own"


@probe("escape", "clone with CLONE_NEWUSER")
def clone_newuser() -> str:
    return _cloned({"x86_64": 56, "aarch64": 220}[MACHINE], _NEW_USER | signal.SIGCHLD, None, None, None, None)


@probe("escape", "clone3 with CLONE_NEWUSER, whose flags no filter can see")
def clone3_newuser() -> str:
    return _cloned(435, struct.pack("QQQQQ", _NEW_USER, 0, 0, 0, signal.SIGCHLD) + bytes(24), 64)


@probe("escape", "32-bit system calls by int 0x80, past a filter for 64-bit numbers")
def int_0x80() -> str:
    if MACHINE != "x86_64":
        raise Held(f"not a way of {MACHINE}")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
    getpid = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    pid = getpid()
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    return f"getpid by int 0x80 is {pid}"


@probe("escape", "x32 system calls")
def x32() -> str:
    if MACHINE != "x86_64":
        raise Held(f"not a way of {MACHINE}")
    return f"getpid of the x32 table is {call(0x40000000 | 39)}"


@probe("escape", "no_new_privs and the filter: take them off")
def filter_off() -> str:
    libc.prctl(38, 0, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS can only be set
    libc.prctl(22, 0, 0, 0, 0)  # PR_SET_SECCOMP
    status = dict(line.split(":\t", 1) for line in text("/proc/self/status").splitlines() if ":\t" in line)
    if status["NoNewPrivs"] == "1" and status["Seccomp"] == "2":
        raise Held("NoNewPrivs 1, Seccomp 2")
    return f"NoNewPrivs {status['NoNewPrivs']}, Seccomp {status['Seccomp']}"


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
