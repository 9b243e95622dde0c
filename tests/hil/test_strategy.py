"""The states of a board: upward one by one, and back only from isolated to enrolled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labgrid import Environment
from labgrid.strategy import StrategyError

from hil import injected
from hil.strategy import BoardStrategy, Status

ENV = Path(__file__).parents[2] / "hil/env/qemu-x86.yaml"


class Ssh:
    def __init__(self) -> None:
        self.ran: list[str] = []

    def run_check(self, command: str) -> list[str]:
        self.ran.append(command)
        return []


@pytest.fixture
def ssh() -> Ssh:
    return Ssh()


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, ssh: Ssh) -> BoardStrategy:
    """Booted, as far as it knows."""
    for name in ("LG_HIL_IMAGE", "LG_HIL_RUN"):
        monkeypatch.setenv(name, "/nowhere")
    made: BoardStrategy = Environment(str(ENV)).get_target("main").get_strategy()
    made.ssh, made.status = ssh, Status.BOOTED
    return made


def step(done: list[str], name: str) -> Callable[[Any], None]:
    return lambda _: done.append(name)


def test_it_goes_through_every_state_on_its_way(board: BoardStrategy) -> None:
    done: list[str] = []
    board.install, board.enrol = step(done, "install"), step(done, "enrol")
    board.transition(Status.ENROLLED)
    assert (done, board.status) == (["install", "enrol"], Status.ENROLLED)


def test_a_board_comes_back_from_isolation_and_from_nothing_else(board: BoardStrategy, ssh: Ssh) -> None:
    board.status = Status.ENROLLED
    with injected.collected() as noted:
        board.transition(Status.ISOLATED)
        board.transition(Status.ENROLLED)
        board.transition(Status.ENROLLED)
    assert [line.split(": ")[1] for line in noted] == ["line to the world dead", "line to the world restored"]
    assert len(ssh.ran) == 2
    with pytest.raises(StrategyError):
        board.transition(Status.BOOTED)


def test_a_step_that_failed_is_not_tried_again(board: BoardStrategy) -> None:
    def fails(_: Any) -> None:
        raise OSError("no space")

    board.install = fails
    with pytest.raises(StrategyError):
        board.transition(Status.INSTALLED)
    done: list[str] = []
    board.install = step(done, "install")
    with pytest.raises(StrategyError):
        board.transition(Status.INSTALLED)
    assert done == []
