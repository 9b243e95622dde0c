"""Fixtures: the board in the state a test asks for."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from hil.strategy import Status


@pytest.fixture(scope="session")
def disk(env: Any) -> None:
    """A fresh copy-on-write disk, before QEMUDriver names it on its command line."""
    images = env.config.get_images()
    if "base" in images:
        base, disk = (env.config.get_image_path(name) for name in ("base", "disk"))
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", disk], check=True, timeout=60
        )


@pytest.fixture(scope="session")
def board(disk: None, strategy: Any) -> Iterator[Any]:  # noqa: ARG001
    yield strategy
    strategy.transition(Status.OFF)


@pytest.fixture
def booted(board: Any) -> Any:
    if board.status < Status.BOOTED:
        board.transition(Status.BOOTED)
    return board.ssh
