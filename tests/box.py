"""A store's box as its people have it: the commands of the documents, under their names and ports, for a Stack."""

import shlex
from pathlib import Path

from tests.broker_files import free_port
from tests.stack import BIN, UNPRIVILEGED, Stack

HOST = "store-box.local"


def open_gateway(stack: Stack) -> int:
    """The HTTPS door, on a port of its own. Before the agent starts: both read one file."""
    port = free_port()
    stack.config.write_text(stack.config.read_text() + f'[gateway]\nlisten = "127.0.0.1:{port}"\n')
    return port


def start_gateway(stack: Stack) -> None:
    stack.start("gateway", [*UNPRIVILEGED, BIN / "edge-agent", "--config", stack.config, "gateway"], notify=True)


def commands(stack: Stack, gateway: int) -> Path:
    """A directory for PATH. What is written for the box `store-box.local` and its ports is said to this one."""
    ports = stack.broker.ports
    words = {HOST: "localhost", "8883": ports.certificates, "8884": ports.passwords, "1883": ports.plain}
    cases = "".join(f"{word}) word={means} ;; " for word, means in words.items())
    places = f"word=${{word/{HOST}:8443/localhost:{gateway}}}"
    said = f'said=(); for word in "$@"; do case $word in {cases}*) {places} ;; esac; said+=("$word"); done'
    central = ("--dir", stack.dir / "central", "--central", f"127.0.0.1:{stack.control_port}")
    directory = stack.dir / "bin"
    directory.mkdir(exist_ok=True)
    for name, argv in {
        "edge-agent": (BIN / "edge-agent", "--config", stack.config),
        "edgectl": (BIN / "edgectl", *central),
        "python3": (BIN / "python3",),
        **{name: (Path("/usr/bin") / name,) for name in ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr", "curl")},
    }.items():
        file = directory / name
        command = shlex.join(str(word) for word in argv)
        file.write_text(f'#!/bin/bash\n{said}\nexec {command} "${{said[@]}}"\n')
        file.chmod(0o755)
    return directory
