"""Names: the last known address is kept, each is asked for once at a time, and nobody waits for a silent server."""

import asyncio
import threading

from agent.jobs.names import MAX_ADDRESSES, Names, system_resolve


class Dns:
    def __init__(self):
        self.table, self.asked, self.gate = {}, [], threading.Event()
        self.gate.set()

    def __call__(self, name):
        self.asked.append(name)
        self.gate.wait(5)
        if name not in self.table:
            raise OSError("no answer")
        return self.table[name]


async def test_a_name_is_known_by_its_sorted_addresses_and_a_change_is_told() -> None:
    dns = Dns()
    names = Names(dns)
    dns.table["a"] = ["192.0.2.9", "192.0.2.1", "192.0.2.9"]
    assert await names.refresh(["a"])
    assert names.known("a") == ("192.0.2.1", "192.0.2.9")
    dns.table["a"].reverse()
    assert not await names.refresh(["a"])
    dns.table["a"] = [f"198.51.100.{n}" for n in range(100)]
    assert await names.refresh(["a"])
    assert len(names.known("a")) == MAX_ADDRESSES


async def test_without_an_answer_the_last_one_is_kept() -> None:
    dns = Dns()
    names = Names(dns)
    dns.table["a"] = ["192.0.2.1"]
    await names.refresh(["a"])
    for answer in (None, []):
        dns.table.pop("a", None)
        if answer is not None:
            dns.table["a"] = answer
        assert not await names.refresh(["a"])
        assert names.known("a") == ("192.0.2.1",)
    assert names.known("never") == ()


async def test_who_waits_for_a_name_waits_only_so_long_and_what_comes_later_is_kept() -> None:
    dns = Dns()
    dns.gate.clear()
    dns.table["a"] = ["192.0.2.1"]
    names = Names(dns)
    async with asyncio.timeout(5):
        await names.learn(["a"], 0.02)
        assert names.known("a") == ()
        again = asyncio.ensure_future(names.learn(["a"], 4))
        await asyncio.sleep(0)
        dns.gate.set()
        await again
    assert names.known("a") == ("192.0.2.1",) and dns.asked == ["a"], "two who ask share one question"
    await names.learn(["a"], 4)
    assert dns.asked == ["a"], "what is known isn't asked before a start"


async def test_few_questions_are_asked_at_once() -> None:
    dns = Dns()
    dns.gate.clear()
    names = Names(dns)
    asking = asyncio.ensure_future(names.refresh([f"n{n}" for n in range(20)]))
    await asyncio.sleep(0.05)
    assert len(dns.asked) == 4
    dns.gate.set()
    async with asyncio.timeout(5):
        await asking
    assert len(dns.asked) == 20


def test_the_system_knows_this_box() -> None:
    assert "127.0.0.1" in system_resolve("localhost")
