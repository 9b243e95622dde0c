"""A second disk of a virtual board, with all that the agent keeps: it fails, fills up and is recorded on demand."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hil.qmp import Qmp

DEVICE = "/dev/nvme0n1"
STATE = "/var/lib/edge-agent"
_FILE_BYTES = 1 << 30
FILE_SYSTEM_BYTES = _FILE_BYTES - (1 << 20)
"""What is behind it belongs to no file system."""
_BLOCK_BYTES = 4096
_SECONDS = 180


class DataDisk:
    """`attach` first, `detach` last; the faults in between end with their blocks."""

    def __init__(self, board: Any, qmp_socket: Path) -> None:
        self._board, self._socket = board, qmp_socket
        self.file = qmp_socket.parent / "data.raw"
        plain = {"driver": "file", "node-name": "plain", "filename": str(self.file)}
        data = {"driver": "raw", "node-name": "data", "file": "plain"}
        self._arguments = [
            *("-blockdev", json.dumps(plain), "-blockdev", json.dumps(data)),
            *("-device", "nvme,drive=data,serial=data,id=nvme-data"),
        ]

    @property
    def _ssh(self) -> Any:
        return self._board.ssh

    def attach(self) -> None:
        """With the power off, as a board's disk is. The agent is started on it."""
        with self.file.open("wb") as file:
            file.truncate(_FILE_BYTES)
        self._ssh.run_check("sync")
        self._board.cut_power()
        self._board.power._cmd += self._arguments  # noqa: SLF001  labgrid is pinned
        self._board.restore_power()
        self._ssh.run_check("systemctl stop edge-agent", timeout=_SECONDS)
        blocks = FILE_SYSTEM_BYTES // _BLOCK_BYTES
        self._ssh.run_check(f"mkfs.ext4 -q -F -b {_BLOCK_BYTES} {DEVICE} {blocks}", timeout=_SECONDS)
        self._ssh.run_check(f"mount {DEVICE} /mnt && cp -a {STATE}/. /mnt/ && umount /mnt")
        self._ssh.run_check(f"mount {DEVICE} {STATE} && systemctl start edge-agent", timeout=_SECONDS)

    def mend(self) -> None:
        """What a technician does after errors: check it, mount it again."""
        self._ssh.run_check("systemctl stop edge-agent", timeout=_SECONDS)
        self._ssh.run_check(f"umount {STATE}")
        code = self._ssh.run(f"e2fsck -f -y {DEVICE}", timeout=_SECONDS)[2]
        assert code in (0, 1), f"e2fsck: {code}"  # 1: errors were corrected
        self._ssh.run_check(f"mount {DEVICE} {STATE} && systemctl start edge-agent", timeout=_SECONDS)

    def detach(self) -> None:
        """The agent goes on with the same state on the board's own disk; the device goes with the next power cut."""
        self._ssh.run_check("systemctl stop edge-agent", timeout=_SECONDS)
        self._ssh.run_check(f"umount {STATE} && mount -o ro {DEVICE} /mnt")
        self._ssh.run_check(f"find {STATE} -mindepth 1 -delete && cp -a /mnt/. {STATE}/ && umount /mnt && sync")
        self._ssh.run_check("systemctl start edge-agent", timeout=_SECONDS)
        for argument in self._arguments:
            self._board.power._cmd.remove(argument)  # noqa: SLF001  labgrid is pinned

    @contextmanager
    def failing(self, *iotypes: str) -> Iterator[None]:
        """Every "write" or "read" or "flush" ends with EIO."""
        rules = [{"event": "none", "iotype": iotype, "errno": 5, "once": False} for iotype in iotypes]
        with self._between({"driver": "blkdebug", "node-name": "between", "image": "plain", "inject-error": rules}):
            yield

    @contextmanager
    def recorded(self, base: Path, log: Path) -> Iterator[None]:
        """`base` becomes what is on the disk now, `log` what is written to it from now on (hil.replay)."""
        log.touch()
        writes = {"driver": "blklogwrites", "node-name": "between", "file": "plain", "log": "log"}
        options = {"log-sector-size": 512, "log-super-update-interval": 1}
        with Qmp(self._socket) as qmp:
            qmp.command("stop")
            subprocess.run(["cp", "--sparse=always", str(self.file), str(base)], check=True, timeout=60)
            qmp.command("blockdev-add", driver="file", node_name="log", filename=str(log))
        try:
            with self._between(writes | options, running=False):
                yield
        finally:
            with Qmp(self._socket) as qmp:
                qmp.command("blockdev-del", node_name="log")

    @contextmanager
    def _between(self, node: dict[str, Any], *, running: bool = True) -> Iterator[None]:
        """A block node between the disk and its file. A monitor takes one client: it is left for others meanwhile."""
        with Qmp(self._socket) as qmp:
            qmp.command("blockdev-add", **node)
            self._lead_to(qmp, "between")
            if not running:
                qmp.command("cont")
        try:
            yield
        finally:
            with Qmp(self._socket) as qmp:
                self._lead_to(qmp, "plain")
                qmp.command("blockdev-del", node_name="between")

    @staticmethod
    def _lead_to(qmp: Qmp, node: str) -> None:
        options: Sequence[dict[str, str]] = [{"driver": "raw", "node-name": "data", "file": node}]
        qmp.command("blockdev-reopen", options=options)
