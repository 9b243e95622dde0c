"""Word for a broker that doesn't know the agent any more."""

import asyncio
from pathlib import Path

import pytest

from agent.clock import system_clock
from agent.mqtt.access import lockout
from agent.mqtt.access.lockout import Lockout


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockout, "_LOOK_SECONDS", 0.001)


async def looked(lock: Lockout, asked: list[int], times: int) -> None:
    task = asyncio.ensure_future(lock.run())
    while len(asked) < times:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


def refusing(asked: list[int], answer: bool) -> bool:
    asked.append(1)
    return answer


async def test_word_is_left_once_when_the_broker_goes_on_refusing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lockout, "_PATIENCE_SECONDS", 0.0)
    lock, asked = Lockout(tmp_path, lambda: refusing(asked, True), system_clock()), list[int]()
    task = asyncio.ensure_future(lock.run())
    while not (tmp_path / "restart").exists():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    assert caplog.text.count("doesn't know the agent") == len(asked) == 1


async def test_a_broker_that_refuses_for_a_moment_is_left_alone(tmp_path: Path) -> None:
    asked: list[int] = []
    await looked(Lockout(tmp_path, lambda: refusing(asked, True), system_clock()), asked, 5)
    assert not (tmp_path / "restart").exists()


async def test_a_broker_that_lets_the_agent_in_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockout, "_PATIENCE_SECONDS", 0.0)
    asked: list[int] = []
    await looked(Lockout(tmp_path, lambda: refusing(asked, False), system_clock()), asked, 5)
    assert not (tmp_path / "restart").exists()


async def test_a_directory_that_is_not_there_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lockout, "_PATIENCE_SECONDS", 0.0)
    task = asyncio.ensure_future(Lockout(tmp_path / "no", lambda: True, system_clock()).run())
    while "can't be left" not in caplog.text:
        await asyncio.sleep(0.001)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
