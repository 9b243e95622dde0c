"""Taking all there is: each in a job of its own beside a neighbour; each ends by itself at a cap that harms nobody.

To reach the cap is to get through: a limit of the job's should have come first.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import pty
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.sandbox.probes.verdict import SECONDS, Held, Measured, libc, main, probe

MIB = 1 << 20
_MEMORY = 512 * MIB  # the cap; a job of the tests has 128 MiB
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOBUFS})


def _tell(pipe: int, word: str) -> None:
    os.write(pipe, f"{word}\n".encode())


def _in_child(body: Callable[[Callable[[str], None]], str]) -> str:
    """What the last word of a child was, when the kernel kills it for what it takes.

    `body` reports with its argument and returns what it got to when nothing stopped it.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        word = ""
        try:
            word = "through " + body(lambda progress: _tell(write, progress))
        except OSError as error:
            word = f"refused {errno.errorcode[error.errno or 0]}"
        except MemoryError:
            word = "refused ENOMEM"
        os.write(write, f"{word}\n".encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as words:
        said = words.read().splitlines() or ["nothing yet"]
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise Held(f"killed by {signal.Signals(os.WTERMSIG(status)).name} after {said[-1]}")
    if said[-1].startswith("through "):
        return said[-1].removeprefix("through ")
    raise Held(f"{said[-1].removeprefix('refused ')} after {said[-2] if len(said) > 1 else 'nothing'}")


def _children(most: int) -> tuple[list[int], str]:
    born: list[int] = []
    while len(born) < most:
        try:
            child = os.fork()
        except OSError as error:
            return born, errno.errorcode[error.errno or 0]
        if child == 0:
            signal.pause()
            os._exit(0)
        born.append(child)
    return born, ""


def _reap(born: list[int]) -> None:
    for child in born:
        os.kill(child, signal.SIGKILL)
    for child in born:
        os.waitpid(child, 0)


@probe("exhaust", "fork until it fails (cap 1,500 processes)")
def fork_bomb() -> str:
    born, why = _children(1500)
    _reap(born)
    if why:
        raise Held(f"{why} after {len(born)} processes")
    return f"{len(born)} processes"


@probe("exhaust", "the shell's fork bomb, for two seconds")
def shell_fork_bomb() -> str:
    bomb = subprocess.Popen(
        ["/bin/sh", "-c", "b() { b | b & }; b"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline, most = time.monotonic() + 2, 0
    while time.monotonic() < deadline:
        most = max(most, sum(name.isdigit() for name in os.listdir("/proc")))
        time.sleep(0.02)
    bomb.kill()
    if most < 100:
        raise Held(f"at most {most} processes; its parent still runs")
    return f"{most} processes"


@probe("exhaust", "threads until it fails (cap 1,500)")
def thread_bomb() -> str:
    threading.stack_size(65536)
    stop = threading.Event()
    for number in range(1500):
        try:
            threading.Thread(target=stop.wait, daemon=True).start()
        except RuntimeError:
            raise Held(f"EAGAIN after {number} threads") from None
    return "1500 threads"


@probe("exhaust", "memory until it ends (cap 512 MiB)")
def memory_bomb() -> str:
    def take(progress: Callable[[str], None]) -> str:
        held: list[bytearray] = []
        while len(held) * 8 * MIB < _MEMORY:
            block = bytearray(8 * MIB)
            block[::4096] = b"x" * (len(block) // 4096)
            held.append(block)
            progress(f"{len(held) * 8} MiB")
        return f"{len(held) * 8} MiB"

    return _in_child(take)


def _fill(folder: str, cap: int) -> str:
    path = Path(folder, "fill")
    done, block = 0, b"x" * MIB
    try:
        with path.open("wb", buffering=0) as file:
            while done < cap:
                wrote = file.write(block)
                if not wrote:
                    break
                done += wrote
    finally:
        path.unlink(missing_ok=True)
    return f"{done // MIB} MiB"


def _fills(folder: str, cap: int) -> str:
    def take(progress: Callable[[str], None]) -> str:
        progress(f"writing to {folder}")
        return _fill(folder, cap)

    return _in_child(take)


@probe("exhaust", "fill /tmp (cap 512 MiB)")
def fill_tmp() -> str:
    return _fills("/tmp", _MEMORY)


@probe("exhaust", "fill /work (cap 512 MiB)")
def fill_work() -> str:
    return _fills("/work", _MEMORY)


@probe("exhaust", "fill /dev/shm (cap 512 MiB)")
def fill_dev_shm() -> str:
    return _fills("/dev/shm", _MEMORY)


@probe("exhaust", "all places of tmpfs at once, beyond the memory of the job")
def fill_all_tmpfs() -> str:
    def take(progress: Callable[[str], None]) -> str:
        done = 0
        for folder in ("/tmp", "/work", "/dev/shm"):
            for number in range(_MEMORY // MIB):
                try:
                    Path(folder, f"f{number}").write_bytes(b"x" * MIB)
                except OSError as error:
                    if error.errno not in _FULL:
                        raise
                    break
                done += 1
                progress(f"{done} MiB")
        if done < 200:
            raise OSError(errno.ENOSPC, "full")
        return f"{done} MiB"

    return _in_child(take)


@probe("exhaust", "inodes: empty files in /tmp, /work and /dev/shm (cap 60,000)")
def inode_fill() -> str:
    def take(progress: Callable[[str], None]) -> str:
        made = 0
        for folder in ("/tmp", "/work", "/dev/shm"):
            try:
                os.makedirs(f"{folder}/inodes")
                for number in range(20_000):
                    os.close(os.open(f"{folder}/inodes/{number}", os.O_CREAT | os.O_WRONLY))
                    made += 1
                    if made % 1000 == 0:
                        progress(f"{made} files")
            except OSError as error:
                if error.errno not in _FULL:
                    raise
        if made < 60_000:
            raise OSError(errno.ENOSPC, "full")
        return f"{made} files"

    return _in_child(take)


@probe("exhaust", "open files until it fails (cap 120,000)")
def fd_exhaustion() -> str:
    def take(progress: Callable[[str], None]) -> str:
        count = 0
        try:
            while count < 120_000:
                os.dup(0)
                count += 1
        finally:
            progress(f"{count} descriptors in one process")
        return f"{count} descriptors"

    return _in_child(take)


@probe("exhaust", "memory that is not a process's own: pipes filled to the brim (cap 512 MiB)")
def pipe_memory() -> str:
    def take(progress: Callable[[str], None]) -> str:
        total, block = 0, b"x" * MIB
        while total < _MEMORY:
            _, write = os.pipe()
            os.set_blocking(write, False)
            _widen(write)
            try:
                while (wrote := os.write(write, block)) > 0:
                    total += wrote
            except BlockingIOError:
                pass
            progress(f"{total // MIB} MiB")
        return f"{total // MIB} MiB in pipes"

    return _in_child(take)


def _widen(fd: int) -> None:
    with contextlib.suppress(OSError):  # beyond the user's share it stays at its 64 KiB
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, MIB)


@probe("exhaust", "memory in anonymous files, memfd (cap 512 MiB)")
def memfd_memory() -> str:
    def take(progress: Callable[[str], None]) -> str:
        fd, total = os.memfd_create("fill"), 0
        while total < _MEMORY:
            total += os.write(fd, b"x" * MIB)
            progress(f"{total // MIB} MiB")
        return f"{total // MIB} MiB in a memfd"

    return _in_child(take)


@probe("exhaust", "memory in System V segments that outlive their process (cap 512 MiB)")
def sysv_memory() -> str:
    def take(progress: Callable[[str], None]) -> str:
        libc.shmat.restype = ctypes.c_void_p
        for number in range(_MEMORY // (8 * MIB)):
            segment = libc.shmget(0, 8 * MIB, 0o1600)
            if segment < 0:
                raise OSError(ctypes.get_errno(), "shmget")
            ctypes.memset(libc.shmat(segment, None, 0), 1, 8 * MIB)
            progress(f"{(number + 1) * 8} MiB")
        return f"{_MEMORY // MIB} MiB in segments"

    return _in_child(take)


@probe("exhaust", "memory in unix sockets' queues (cap 512 MiB)")
def unix_socket_memory() -> str:
    def take(progress: Callable[[str], None]) -> str:
        return _stuff(progress, lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))

    return _in_child(take)


@probe("exhaust", "memory in TCP's queues, a number that all of the host share (tcp_mem; cap 512 MiB)")
def tcp_memory() -> str:
    listener = socket.create_server(("127.0.0.1", 0))

    def connect() -> tuple[socket.socket, socket.socket]:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]

    return _in_child(lambda progress: _stuff(progress, connect))


def _stuff(progress: Callable[[str], None], pair: Callable[[], tuple[socket.socket, socket.socket]]) -> str:
    kept: list[tuple[socket.socket, socket.socket]] = []
    total, block = 0, b"x" * (256 * 1024)
    while total < _MEMORY:
        one, other = pair()
        kept.append((one, other))
        for end in (one, other):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MIB)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
        one.setblocking(False)
        try:
            while True:
                total += one.send(block)
        except BlockingIOError:
            pass
        progress(f"{total // MIB} MiB in {len(kept)} pairs")
    return f"{total // MIB} MiB in {len(kept)} pairs"


@probe("exhaust", "page tables: touch a byte of each 2 MiB (cap 300,000 places, 1.2 GiB of tables)")
def page_tables() -> str:
    def take(progress: Callable[[str], None]) -> str:
        size = 300_000 * 2 * MIB
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
        address = libc.mmap(None, size, 1, 0x4022, -1, 0)  # PROT_READ: the zero page; MAP_NORESERVE
        if address in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "mmap")
        for place in range(300_000):
            ctypes.string_at(address + place * 2 * MIB, 1)
            if place % 1000 == 0:
                progress(f"{place * 4 // 1024} MiB of tables")
        return "1.2 GiB of page tables"

    return _in_child(take)


@probe("exhaust", "terminals, a number that all of the host share (kernel.pty.max; cap 3,000)")
def terminals_all() -> str:
    read, write = os.pipe()
    total = 0
    for _ in range(8):
        if os.fork() == 0:
            count = 0
            while count < 400:
                try:
                    pty.openpty()
                except OSError:  # Python's own "out of pty devices" has no number
                    break
                count += 1
            os.write(write, f"{count:4}".encode())
            signal.pause()
        count = int(os.read(read, 4))
        total += count
        if count < 400 or total > 3000:
            break
    # A quarter of what there is is no trouble for anybody.
    if total <= 768:
        raise Held(f"{total} terminals")
    return f"{total} terminals held at once"


@probe("exhaust", "timers and queued signals, counted against root of the host (cap 5,000)")
def posix_timers() -> str:
    timer = ctypes.c_void_p()
    for number in range(5000):
        if libc.timer_create(1, None, ctypes.byref(timer)) != 0:
            raise Held(f"EAGAIN after {number} timers")
    return "5000 timers"


@probe("exhaust", "message queues, counted against root of the host (cap 200)")
def message_queues() -> str:
    queue = (ctypes.c_long * 8)(0, 10, 8192)
    for number in range(200):
        if libc.mq_open(f"/q{number}".encode(), 0o102, 0o600, ctypes.byref(queue)) < 0:
            raise Held(f"{errno.errorcode[ctypes.get_errno()]} after {number} queues of 80 KiB")
    return "200 queues"


@probe("exhaust", "lock memory so that the host can't move it (cap 256 MiB)")
def lock_memory() -> str:
    def take(progress: Callable[[str], None]) -> str:
        block = mmap.mmap(-1, 256 * MIB)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(block))
        for size in range(MIB, 256 * MIB, MIB):
            if libc.mlock(ctypes.c_void_p(begin), ctypes.c_size_t(size)) != 0:
                raise OSError(ctypes.get_errno(), "mlock")
            progress(f"{size // MIB} MiB")
        return "256 MiB locked"

    return _in_child(take)


@probe("exhaust", "directory entries that do not exist: look up 400,000 names (kernel memory)")
def negative_entries() -> str:
    begin = time.monotonic()
    number = 0
    while number < 400_000 and time.monotonic() - begin < SECONDS / 2:
        number += 1
        os.path.exists(f"/usr/{number}-{'x' * 200}")
    raise Measured(f"{number} names in {time.monotonic() - begin:.1f} s, on the job's own CPU and memory")


@probe("exhaust", "spin on four processes for three seconds, with 0.5 of a core allowed")
def cpu_spin() -> str:
    begin = time.monotonic()
    born = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            while True:
                pass
        born.append(child)
    time.sleep(3)
    _reap(born)
    took, used = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cores = (used.ru_utime + used.ru_stime) / took
    if cores < 0.65:
        raise Held(f"{cores:.2f} of a core")
    return f"{cores:.2f} cores"


@probe("exhaust", "flood the log with 400 MB (for at most 4 s)")
def log_flood() -> str:
    block, total, deadline = b"y" * 99 + b"\n", 0, time.monotonic() + 4
    while total < 400_000_000 and time.monotonic() < deadline:
        sys.stdout.buffer.write(block * 1000)
        total += 100_000
    sys.stdout.buffer.flush()
    raise Measured(f"wrote {total // 1_000_000} MB")


@probe("exhaust", "processes that nobody waits for: 1,500 zombies")
def zombies() -> str:
    for number in range(1500):
        try:
            if os.fork() == 0:
                os._exit(0)
        except OSError as error:
            raise Held(f"{errno.errorcode[error.errno or 0]} after {number}") from error
    return "1500 zombies"


@probe("exhaust", "a deep tree of directories, 5,000 levels, that whoever removes it must walk")
def deep_tree() -> str:
    os.chdir("/tmp")
    try:
        for _ in range(5000):
            os.mkdir("d")
            os.chdir("d")
    except OSError as error:
        raise Held(f"{errno.errorcode[error.errno or 0]}") from error
    raise Held("made in the job's own tmpfs, which goes as a whole") if _is_tmpfs("/tmp") else Measured("on a disk")


def _is_tmpfs(folder: str) -> bool:
    return any(line.split()[1:3] == [folder, "tmpfs"] for line in Path("/proc/mounts").read_text().splitlines())


@probe("exhaust", "disk: what is written to where it may write, beyond its limits (cap 512 MiB)")
def disk_fill() -> str:
    for folder in ("/", "/var/tmp", "/work", "/home"):
        if os.access(folder, os.W_OK) and not _is_tmpfs(folder):
            size = shutil.disk_usage(folder).total
            path = Path(folder, "fill")
            with path.open("wb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, _MEMORY)
                except OSError as error:
                    raise Held(f"{errno.errorcode[error.errno or 0]} on a disk of {size // MIB} MiB") from error
                finally:
                    path.unlink()
            return f"512 MiB on {folder}, of a disk of {size // MIB} MiB"
    raise Held("no disk that it may write to")


if __name__ == "__main__":
    main(sys.argv[1:])
