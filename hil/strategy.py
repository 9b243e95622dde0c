"""What state the board is in, and how it gets to the next: the same for a virtual board and a real one."""

import enum
import select
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attr
from labgrid import step, target_factory
from labgrid.driver import QEMUDriver
from labgrid.strategy import Strategy, StrategyError, never_retry

from hil import injected

SSH_PORT = 22


class Status(enum.IntEnum):
    OFF = 0
    BOOTED = 1  # ssh answers
    INSTALLED = 2  # apt has installed the package
    ENROLLED = 3  # has a certificate, and its units run
    ISOLATED = 4  # enrolled, and nothing but the suite's ssh passes between it and the world


# Dropped before routing and after it: of the board itself and of its jobs. No answer and no error, like a dead line.
_ISOLATE = """
wan=$(ip -o route show default | sed 's/.* dev \\([^ ]*\\).*/\\1/' | head -n 1)
nft -f - <<RULES
table inet hil_isolated {{
  chain in {{
    type filter hook prerouting priority raw
    iifname "$wan" tcp dport {ssh} accept
    iifname "$wan" drop
  }}
  chain out {{
    type filter hook postrouting priority raw
    oifname "$wan" tcp sport {ssh} accept
    oifname "$wan" drop
  }}
}}
RULES
"""
_REJOIN = "nft list table inet hil_isolated >/dev/null 2>&1 || exit 0; nft delete table inet hil_isolated"


@target_factory.reg_driver
@attr.s(eq=False)
class BoardStrategy(Strategy):
    """Steps upward one state at a time, and from isolated back to enrolled.

    `install` and `enrol` are handed in by the suite, which knows the release and central. A step that fails
    breaks the strategy: labgrid skips the tests that are left.
    """

    bindings = {"power": "PowerProtocol", "shell": {"ShellDriver", None}, "ssh": "SSHDriver"}  # noqa: RUF012  labgrid's

    status = attr.ib(default=Status.OFF)
    install: Callable[[Any], None] | None = None
    enrol: Callable[[Any], None] | None = None
    _overheard = attr.ib(factory=ExitStack, init=False)

    @never_retry
    @step(args=["wanted"])
    def transition(self, wanted: Status, *, step: Any) -> None:  # noqa: ARG002  labgrid hands it in
        if (self.status, wanted) == (Status.ISOLATED, Status.ENROLLED):
            injected.note("line to the world restored")
            self.ssh.run_check(_REJOIN)  # after a power cut there is nothing to take away
            self.status = Status.ENROLLED
        if wanted < self.status:
            raise StrategyError(f"no way back from {self.status.name} to {wanted.name}")
        for status in Status:
            if self.status < status <= wanted:
                self._step(status)
                self.status = status

    def _step(self, status: Status) -> None:
        if status == Status.BOOTED:
            self.target.activate(self.power)
            self.power.on()
            self.arrive()
        elif status == Status.INSTALLED and self.install is not None:
            self.install(self.ssh)
        elif status == Status.ENROLLED and self.enrol is not None:
            self.enrol(self.ssh)
        elif status == Status.ISOLATED:
            injected.note("line to the world dead")
            self.ssh.run_check(_ISOLATE.format(ssh=SSH_PORT))
        else:
            raise StrategyError(f"the suite did not say how to get to {status.name}")

    @step()
    def switch_off(self) -> None:
        """At the end, whatever became of the board."""
        self.leave()
        self.target.activate(self.power)
        self.power.off()
        self.status = Status.OFF

    @step()
    def cut_power(self) -> None:
        """No shutdown, no flush: QEMU is killed, with the write cache of its disk. A real board loses its supply."""
        self.leave()
        injected.note("power cut")
        if isinstance(self.power, QEMUDriver):
            _kill(self.power)
        else:
            self.power.off()

    @step()
    def restore_power(self) -> None:
        """After `cut_power`: until ssh answers again. What was installed and enrolled still is."""
        injected.note("power back")
        self.power.on()
        self.arrive()

    def console(self) -> Any:
        """The shell of a board that is starting, logged in; also without a network. Not every board has one."""
        self.target.activate(self.shell)
        return self.shell

    def overhear(self, log: Path) -> None:
        """Append to `log` what the console says, until the board goes or somebody logs in.

        A virtual board that nobody listens to stands still: the socket takes some 300 characters.
        """
        if isinstance(self.power, QEMUDriver):
            ended = threading.Event()
            console = self.power._clientsocket  # noqa: SLF001  labgrid is pinned
            thread = threading.Thread(target=_read_console, args=(console, log, ended), daemon=True)
            thread.start()
            self._overheard.callback(thread.join, 10)
            self._overheard.callback(ended.set)

    @step()
    def arrive(self) -> None:
        """Log in to a board that is starting, by console if it has one, then by ssh."""
        self._overheard.close()
        if self.shell is not None:
            self.console()
        if isinstance(self.power, QEMUDriver):
            self.ssh.networkservice.port = _forward(self.power, SSH_PORT)
        self.target.activate(self.ssh)

    def reach(self, port: int) -> tuple[str, int]:
        """Host and port at which this machine finds a TCP port of the board; the same after a power cut."""
        if isinstance(self.power, QEMUDriver):
            return "localhost", _forward(self.power, port)
        return self.ssh.networkservice.address, port

    def leave(self) -> None:
        """Before the board goes: a dead ssh master would be asked by the next command."""
        self._overheard.close()
        for driver in (self.ssh, self.shell):
            if driver is not None:
                self.target.deactivate(driver)


def _forward(qemu: QEMUDriver, board_port: int) -> int:
    """A loopback port of the host that leads to one of the board; labgrid forwards it anew at each start of QEMU."""
    for _, _, port, _, towards, _ in qemu._forwarded_ports.values():  # noqa: SLF001  labgrid is pinned
        if towards == board_port:
            return int(port)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    qemu.add_port_forward("tcp", "127.0.0.1", port, "", board_port)
    return port


def _read_console(console: socket.socket, log: Path, ended: threading.Event) -> None:
    with log.open("ab") as file:
        while not ended.is_set():
            if select.select([console], [], [], 0.2)[0]:
                data = console.recv(65536)
                if not data:
                    return
                file.write(data)


def _kill(qemu: QEMUDriver) -> None:
    """labgrid's off() asks QEMU to quit, which flushes the disk first. Its private state is put right by hand."""
    qemu._child.kill()  # noqa: SLF001
    qemu._child.wait()  # noqa: SLF001
    for stream in (qemu._child.stdin, qemu._child.stdout, qemu._clientsocket):  # noqa: SLF001
        stream.close()
    qemu._child = qemu._clientsocket = None  # noqa: SLF001
    qemu.status = 0
