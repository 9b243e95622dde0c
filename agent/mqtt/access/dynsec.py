"""Keeps the broker's dynamic-security plugin as it is to be: at each connection, at each change, and every hour."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence

from agent.errors import AwayError
from agent.mqtt.access import diff
from agent.mqtt.access.diff import Command, Json
from agent.mqtt.access.policy import Access, owner
from agent.mqtt.wire.delivery import Delivery

log = logging.getLogger(__name__)

_TOPIC = "$CONTROL/dynamic-security/v1"
RESPONSES = f"{_TOPIC}/response"
# The broker answers everything else in between: a page of 100 took it 2 ms.
_PAGE = 100
_BATCH_USERS = 50
# Below the broker's max_packet_size of 256 KiB, also when all of it is escaped.
_BATCH_BYTES = 100_000
# After each command the plugin writes down all that it has, at once: 10 ms with 1,000 devices, 0.2 s with 20,000. So a
# batch is as long as the broker can be kept from its devices.
_BATCH_SECONDS = 0.25
_FEWEST, _MOST = 2, 64
_ANSWER_SECONDS = 20.0  # less than the control connection's keepalive
# An order waits so long for its devices to be in force; an import into a very large store takes longer.
_APPLY_SECONDS = 15.0
_CHECK_SECONDS = 3600.0
_RETRY_SECONDS = 10.0

Publish = Callable[[str, bytes], Awaitable[None]]


class Dynsec:
    """`wanted` says what there is to be. `in_force` is awaited with what the broker has, None when it is away.

    `receive` must be subscribed to RESPONSES, and `connected` be told of each new connection.
    """

    def __init__(
        self,
        publish: Publish,
        is_connected: Callable[[], bool],
        wanted: Callable[[], Access],
        in_force: Callable[[Access | None], Awaitable[None]],
    ) -> None:
        self._publish, self._is_connected = publish, is_connected
        self._wanted, self._in_force = wanted, in_force
        self._numbers = itertools.count(1)
        self._answer: tuple[str, asyncio.Future[list[Json]]] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._commands = _FEWEST  # of one batch
        # By user, what the broker was brought to; None when it isn't known what it has.
        self._known: dict[str, object] | None = None
        self._complained = ""

    def changed(self) -> None:
        """Something else is to be in force; `run` sees to it."""
        self._wake.set()

    async def connected(self) -> None:
        """It may be another broker, or have been told other things meanwhile."""
        self._known = None
        self._wake.set()

    def receive(self, delivery: Delivery) -> None:
        """An answer. Others than the one that is waited for came too late."""
        try:
            responses: list[Json] = json.loads(delivery.payload)["responses"]
            first = responses[0].get("correlationData") if responses else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if self._answer is not None and self._answer[0] == first and not self._answer[1].done():
            self._answer[1].set_result(responses)

    async def run(self) -> None:
        """Until cancelled. What fails is tried again, and said once."""
        while True:
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            delay = _CHECK_SECONDS
            try:
                wanted = self._wanted()
                await self._apply(wanted)
            except AwayError as why:
                self._known = None
                if self._is_connected():
                    self._complain(str(why))
                    delay = _RETRY_SECONDS
                await self._in_force(None)
                _settle(waiting, why)
            else:
                self._complained = ""
                await self._in_force(wanted)
                _settle(waiting, None)
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                self._known = None  # time to look at everything

    async def apply(self) -> None:
        """What is wanted now is in force when it returns. Raises AwayError: then `run` goes on trying."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wake.set()
        try:
            async with asyncio.timeout(_APPLY_SECONDS):
                await done
        except TimeoutError:
            raise AwayError(f"broker is not brought up to date within {_APPLY_SECONDS:.0f} s") from None

    async def ask(self, commands: Sequence[Command]) -> list[Json]:
        """The answers, in order; a refused command's has `error`. Raises AwayError."""
        number = f"{next(self._numbers)}"
        answer: asyncio.Future[list[Json]] = asyncio.get_running_loop().create_future()
        self._answer = number, answer
        try:
            # The whole batch is run before the first answer is sent: one answer, of all.
            marked = [{**command, "correlationData": number} for command in commands]
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._publish(_TOPIC, json.dumps({"commands": marked}).encode())
                return await answer
        except TimeoutError:
            raise AwayError(f"broker: no answer to {commands[0]['command']} in {_ANSWER_SECONDS:.0f} s") from None
        finally:
            self._answer = None

    # --- what is wrong -----------------------------------------------------------------------------

    async def _apply(self, wanted: Access) -> None:
        sources = wanted.sources()
        if self._known is None:
            names, roles = await self._look(wanted, sources)
        else:
            names, roles = _different(self._known, sources, wanted), set[str]()
        drifted = self._known is None and bool(names or roles)
        done = await self._mend(names, roles, wanted)
        if done:
            log.info("access at the broker brought up to date", extra={"users": len(names), "commands": done})
        if drifted and done:
            log.debug("users that were not as they should be", extra={"users": sorted(names)[:20]})
        self._known = sources

    async def _look(self, wanted: Access, sources: Mapping[str, object]) -> tuple[set[str], set[str]]:
        """Users to mend, and roles that are wrong, of all that the broker has. Mends its settings."""
        default, anonymous, groups = await self.ask(
            [
                {"command": "getDefaultACLAccess"},
                {"command": "getAnonymousGroup"},
                {"command": "listGroups", "verbose": False, "count": -1, "offset": 0},
            ]
        )
        await self._send(diff.settings(_data(default), anonymous.get("data", {}), _data(groups)))
        names: set[str] = set()
        seen: set[str] = set()
        async for clients in self._pages("listClients", "clients"):
            names.update(diff.wrong_clients(clients, wanted))
            seen.update(client["username"] for client in clients)
        roles: set[str] = set()
        found: set[str] = set()
        async for page in self._pages("listRoles", "roles"):
            roles.update(diff.wrong_roles(page, wanted))
            found.update(role["rolename"] for role in page)
        names.update(sources.keys() - seen)
        names.update(map(owner, roles))
        names.update(name for name in sources if name not in found)
        return names, roles

    async def _pages(self, command: str, key: str) -> AsyncIterator[list[Json]]:
        offset = 0
        while True:
            asked: Command = {"command": command, "verbose": True, "count": _PAGE, "offset": offset}
            page: list[Json] = _data((await self.ask([asked]))[0])[key]
            yield page
            offset += len(page)
            if len(page) < _PAGE:
                return

    # --- mending -----------------------------------------------------------------------------------

    async def _mend(self, names: Collection[str], roles: Collection[str], wanted: Access) -> int:
        """The number of commands it took. Each user is looked at again: what was listed may have changed."""
        strays: dict[str, set[str]] = {}
        for role in roles:
            strays.setdefault(owner(role), set()).add(role)
        done = 0
        # Who is to go goes first.
        ordered = sorted(names, key=lambda name: (wanted.user(name) is not None, name))
        for batch in _chunks(ordered, _BATCH_USERS):
            clients = await self._get("getClient", "username", "client", batch)
            related = {
                name: {*_wanted_roles(wanted, name), *strays.get(name, ()), *_listed_roles(clients.get(name), name)}
                for name in batch
            }
            have = await self._get("getRole", "rolename", "role", [role for each in related.values() for role in each])
            commands: list[Command] = []
            for name in batch:
                own = {role: have[role] for role in related[name] if role in have}
                commands += diff.mend(wanted.user(name), clients.get(name), own)
            await self._send(commands)
            done += len(commands)
        return done

    async def _get(self, command: str, key: str, kind: str, names: Collection[str]) -> dict[str, Json]:
        """Of those there are, by name."""
        found: dict[str, Json] = {}
        for some in _chunks(list(names), _BATCH_USERS):
            answers = await self.ask([{"command": command, key: name} for name in some])
            found.update((a["data"][kind][key], a["data"][kind]) for a in answers if "data" in a)
        return found

    async def _send(self, commands: Sequence[Command]) -> None:
        left = list(commands)
        while left:
            batch = _first(left, self._commands)
            del left[: len(batch)]
            began = asyncio.get_running_loop().time()
            for command, answer in zip(batch, await self.ask(batch), strict=True):
                if "error" in answer:
                    what = command.get("username", command.get("rolename", ""))
                    raise AwayError(f"broker refuses {command['command']} {what}: {answer['error']}")
            took = asyncio.get_running_loop().time() - began
            self._commands = max(_FEWEST, min(_MOST, round(len(batch) * _BATCH_SECONDS / max(took, 0.001))))

    def _complain(self, why: str) -> None:
        if why != self._complained:
            self._complained = why
            log.warning("access at the broker is not as it should be, and tried again", extra={"reason": why})


def _different(known: Mapping[str, object], sources: Mapping[str, object], wanted: Access) -> set[str]:
    changed = {
        name
        for name, source in sources.items()
        if name not in known or (known[name] is not source and known[name] != source)
    }
    return changed | {name for name in known.keys() - sources.keys() if not wanted.is_left_alone(name)}


def _data(answer: Json) -> Json:
    if "data" not in answer:
        raise AwayError(f"broker refuses {answer.get('command')}: {answer.get('error')}")
    data: Json = answer["data"]
    return data


def _wanted_roles(wanted: Access, name: str) -> Iterator[str]:
    user = wanted.user(name)
    yield from () if user is None else (role.name for role in user.roles)


def _listed_roles(client: Json | None, name: str) -> Iterator[str]:
    """Those that are of the user's own name; others' are others'."""
    roles: Iterable[Json] = () if client is None else client.get("roles", ())
    yield from (role["rolename"] for role in roles if owner(role["rolename"]) == name)


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _first(commands: Sequence[Command], most: int) -> list[Command]:
    """As many as one packet takes, at least one."""
    room = _BATCH_BYTES
    for at, command in enumerate(commands[:most]):
        room -= len(json.dumps(command))
        if room < 0:
            return list(commands[: max(1, at)])
    return list(commands[:most])


def _settle(waiting: Iterable["asyncio.Future[None]"], why: AwayError | None) -> None:
    for done in waiting:
        if done.done():  # whoever waited is gone
            continue
        if why is None:
            done.set_result(None)
        else:
            done.set_exception(why)
