"""Central control outside the board: edge-central as a process of the host, asked through edgectl."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_BIN = Path(sys.executable).parent
_START_SECONDS = 30.0


class Central:
    """One process on two ports of `listen`; boards know it as `address`."""

    def __init__(self, directory: Path, *, listen: str, address: str) -> None:
        self.directory, self.address = directory, address
        self.log = directory / "central.log"
        self.tokens: dict[str, str] = {}  # the last of each node
        self.home = directory / "ca"
        port, self.enrol_port = _free_port(listen), _free_port(listen)
        self.control = f"{listen}:{port}"
        # Named each time: the address that central remembers is the one that boards know, which may lead nowhere here.
        self._edgectl_argv = [_BIN / "edgectl", "--dir", self.home, "--central", self.control]
        self._edgectl("init")
        self._argv = [
            *(_BIN / "edge-central", "--dir", self.home),
            *("--listen", self.control, "--enrol-listen", f"{listen}:{self.enrol_port}"),
            *("--advertise", f"{address}:{port}"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it is ready; again after `stop`. Raises AssertionError with its log."""
        with self.log.open("ab") as log:
            before = log.tell()
            self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while "central: ready" not in self.log.read_text()[before:]:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    @property
    def running(self) -> bool:
        return self._process is not None

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
            self._process = None

    def ask(self, *words: str) -> Any:
        """What `edgectl WORDS --json` says. Raises AssertionError when it refuses."""
        return json.loads(self._edgectl(*words, "--json"))

    def token(self, node: str) -> str:
        """A one-time token for `node`, "STORE/NODE"."""
        store, _, name = node.partition("/")
        self.tokens[node] = self._edgectl("token", "create", "--store", store, "--node", name).split()[-1]
        return self.tokens[node]

    def apply(self, node: str, document: str) -> None:
        """Make `document` (TOML, as docs/examples/store.toml) what `node` shall run."""
        file = self.directory / "desired.toml"
        file.write_text(document)
        self._edgectl("apply", str(file), "--node", node)

    def password(self, node: str, device: str, *words: str) -> str:
        """A new one for a device of `node`, which is registered with `words` (as "--zone", "roof") if it isn't yet."""
        told = self.ask("device", "add", node, device, "--password", *words)
        assert told["in_force"], told
        return str(told["password"])

    def revoke(self, node: str, device: str) -> None:
        self._edgectl("device", "revoke", node, device)

    def connected(self, node: str) -> bool:
        return any(f"{n['ref']['store']}/{n['ref']['node']}" == node and n["connected"] for n in self.nodes())

    def nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.ask("nodes")["nodes"]
        return nodes

    def job(self, node: str, name: str) -> dict[str, Any]:
        """The newest that is known of a job; empty when nothing is."""
        jobs: list[dict[str, Any]] = self.ask("jobs", node)["jobs"]
        return next((job for job in jobs if job["id"] == name), {})

    def messages(self, node: str) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.ask("messages", node)["messages"]
        return messages

    def _edgectl(self, *words: str) -> str:
        done = subprocess.run([*self._edgectl_argv, *words], capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, f"edgectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
