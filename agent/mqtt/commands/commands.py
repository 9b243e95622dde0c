"""Commands to devices: asked, on disk, sent, answered, written down."""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.mqtt.commands.leases import STORE, Leases
from agent.mqtt.commands.outcome import Asked, check, new_command, unanswered
from agent.mqtt.commands.queue import KEPT_ANSWER_BYTES, Command, Gate, Now, Queue
from agent.mqtt.commands.queue_file import QueueFile
from agent.mqtt.commands.reports import Publish, Reports
from agent.mqtt.commands.route import Speaks, route
from agent.mqtt.commands.waiters import Waiters
from agent.mqtt.control import LostError
from agent.mqtt.topics import Kind, ack_topic, command_topic, parse
from agent.mqtt.wire.delivery import Delivery
from agent.orders import CommandAnswer, CommandOrder, CommandView
from agent.spec import MqttView

log = logging.getLogger(__name__)

# Whether a device came online is also looked at, when nobody says so: while something waits for one.
_LOOK_SECONDS = 2.0
_DISK_SECONDS = 1.0
# Below the ten seconds in which a service has to beat.
_OPEN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What commands have to ask of others.

    `online`: None = the device was never heard of. `may`: the run by whose grant a tenant may do that now; None = none;
    raises AwayError while nobody knows yet. `stays`: whether what is published at a topic must not leave the store.
    """

    publish: Publish
    connected: Callable[[], bool]
    online: Callable[[str], bool | None]
    speaks: Callable[[str], Speaks] = lambda _: Speaks()
    may: Callable[[str, str, str], MqttView | None] = lambda _tenant, _device, _name: None
    stays: Callable[[str], bool] = lambda _: False


class Commands:
    """`run` must run: it alone writes, sends and reports, each step only once the one before is on disk."""

    def __init__(self, file: QueueFile, clock: Clock, around: Surroundings, reports: Reports) -> None:
        self._file = file
        self._clock = clock
        self._around = around
        self._reports = reports
        self._queue = Queue()
        self.leases = Leases()
        self._series = ""
        self._last = 0
        self._opened = asyncio.Event()
        self._stir = asyncio.Event()
        self._fresh: set[str] = set()  # not on disk yet
        self._waiters = Waiters(clock, around.stays)
        self._settlers: list[asyncio.Future[None]] = []
        self._answers = 0  # that were taken
        self._saved = 0  # of them, on disk

    # --- asking ---

    async def send(self, order: CommandOrder) -> CommandAnswer:
        """The device's answer; with `queue_seconds` also the state in which it goes on without the caller.

        The same key for the same device and name is one command, over restarts: a second call gets the first's answer,
        or waits for it. After DEADLINE it may have been carried out, unless the message says that it was not sent.
        Raises RefusedError BAD_REQUEST, NOT_FOUND, AWAY, NO_ROOM, DEADLINE, CONFLICT; StorageError: nothing was sent.
        """
        check(order)
        command = self._queue.find("", order.device, order.name, order.idempotency_key)
        if command is None:
            command = self.ask(order, Asked())
        waiter = self._waiters.add(command.id, local=order.actor.startswith("local:"))
        self._tell(command.id)
        try:
            async with asyncio.timeout(order.timeout_seconds):
                return await waiter.answer
        except TimeoutError:
            if command.id in self._fresh:  # it goes on without the caller only if it outlives us
                await self.stored()
            command = self._queue.get(command.id) or command
            if order.queue_seconds and not command.ended:
                return CommandAnswer(command.id, command.state)
            raise RefusedError("DEADLINE", unanswered(command)) from None
        finally:
            self._waiters.leave(command.id, waiter)

    def ask(self, order: CommandOrder, asked: Asked) -> Command:
        """Put it into the queue: it is on disk before it is sent, and not before. Raises RefusedError."""
        if not self._series:
            raise RefusedError("AWAY", "commands can't be stored yet; nothing was sent")
        device, now = order.device, self._now()
        online = self._around.online(device)
        if online is None:
            raise RefusedError("NOT_FOUND", f"no device {device[:64]!r} was ever heard of here")
        if not order.queue_seconds and not online:
            raise RefusedError("AWAY", f"device {device} is offline; nothing was sent")
        if not order.queue_seconds and not self._around.connected():
            raise RefusedError("AWAY", "the broker is away; nothing was sent")
        way = route(device, order.name, self._around.speaks(device))
        command = new_command(f"{self._series}-{self._last + 1:08x}", order, asked, now, answers=bool(way.answer_topic))
        if online:
            who = STORE if asked.store else asked.scope
            if (held := self.leases.take(device, who, now.seconds)) is not None:
                raise RefusedError("LEASED", held)
        self._queue.add(command)
        self._last += 1
        self._fresh.add(command.id)
        self._stir.set()
        return command

    def ask_again(self, order: CommandOrder, asked: Asked) -> bool:
        """Whether a command has this key already: then its end is told to `asked`, too."""
        command = self._queue.find(asked.scope, order.device, order.name, order.idempotency_key)
        if command is None:
            return False
        self._queue.owe_again(command.id, asked.reply_topic, asked.reply_correlation)
        self._stir.set()
        return True

    def views(self, device: str = "", after: str = "") -> Sequence[CommandView]:
        """By id. Answers that must stay in the store are left out."""
        stays = self._around.stays
        return tuple(
            replace(view, answer=b"") if view.answer and stays(_ack(view)) else view
            for view in self._queue.views(device, after)
        )

    async def cancel(self, id_: str, actor: str) -> None:
        """Not sent, or not again. Raises RefusedError NOT_FOUND, CONFLICT; StorageError: it goes on after a restart."""
        self._queue.cancel(id_, self._now())
        log.info("command cancelled", extra={"command": id_, "actor": actor})
        self._tell(id_)
        await self.stored()

    # --- what others say ---

    def answer(self, delivery: Delivery) -> None:
        """Hand a message to the command that waits for it, if it is such an answer. A second copy does no harm."""
        if not delivery.topic.endswith("/ack") or delivery.retained:
            return
        where = parse(delivery.topic)
        if where is None or where.kind is not Kind.ACK:
            return
        id_ = self._queue.match(where.device, where.command, delivery.correlation_data, self._waiters.__contains__)
        if id_ is None or not self._queue.answer(id_, delivery.payload, self._now()):
            return
        self._answers += 1
        command = self._queue.get(id_)
        if command is not None and command.reply_topic and len(delivery.payload) > KEPT_ANSWER_BYTES:
            self._reports.whole(id_, delivery.payload)
        self._tell(id_, delivery.payload)  # at once: a full disk must not keep a person at a locked door
        self._stir.set()

    def is_ours(self, topic: str, correlation_data: bytes) -> bool:
        """Whether it is a command that was sent from here, and came back over the bulk connection."""
        command = self._queue.get(correlation_data.decode(errors="replace"))
        return command is not None and topic == command_topic(command.device, command.name)

    def device_online(self, device: str) -> None:
        self._queue.revive(device)
        self._stir.set()

    async def broker_back(self) -> None:
        """For Control.on_connected."""
        self._queue.revive(None)
        self._stir.set()

    async def opened(self) -> None:
        """Return when it is known what was asked before the last restart. Raises StorageError when that takes long."""
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await self._opened.wait()
        except TimeoutError:
            raise StorageError("the file of commands can't be read") from None

    async def settle(self) -> None:
        """Return when all answers until now are on disk: then the broker may forget them. Raises StorageError."""
        if self._saved < self._answers:
            await self.stored()

    async def stored(self) -> None:
        """Return when all that was asked and said until now is on disk. Raises StorageError."""
        if not self._series:
            raise StorageError("commands can't be stored yet")
        settled = asyncio.get_running_loop().create_future()
        self._settlers.append(settled)
        self._stir.set()
        await settled

    # --- doing ---

    async def run(self) -> None:
        """Until cancelled. What waits stays on disk."""
        try:
            await self._open()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reports.run(self._queue, self._now, self._stir), name="mqtt-command-reports")
                while True:
                    self._stir.clear()
                    for command in await self._turn():
                        group.create_task(self._hand_over(command), name=f"mqtt-command-{command.id}")
                    await self._wait()
        finally:
            self._series = ""
            await asyncio.to_thread(self._file.close)
            _settle(self._settlers, StorageError("the agent stops"))
            for id_ in self._waiters.ids():
                self._waiters.refuse(id_, lambda: AwayError("the agent stops"))

    async def _open(self) -> None:
        now = self._now()
        name = f"{now.unix_nano // 10**9:08x}{now.boot_id[:4]}"
        loaded = None
        while loaded is None:
            try:
                loaded = await asyncio.to_thread(self._file.load, name)
            except StorageError as why:
                log.warning("commands can't be stored, none is taken", extra={"reason": why})
                await asyncio.sleep(_DISK_SECONDS)
        if loaded.set_aside is not None:
            log.error("the file of commands can't be read: set aside", extra={"path": str(loaded.set_aside)})
        self._queue.restore(loaded.commands, now)
        self._series, self._last = loaded.series, loaded.last
        self._opened.set()

    async def _turn(self) -> list[Command]:
        """What is to be sent, now that it is on disk as sent."""
        now = self._now()
        settlers, self._settlers = self._settlers, []
        fresh = set(self._fresh)
        answers = self._answers
        sends = self._queue.turn(now, self._gate)
        changed = self._queue.take()
        if changed:
            try:
                await asyncio.to_thread(self._file.save, changed, self._last)
            except StorageError as why:
                log.warning("commands can't be stored, nothing is sent", extra={"reason": why})
                self._undo(changed, sends, fresh, why)
                _settle(settlers, StorageError(str(why)))
                await asyncio.sleep(_DISK_SECONDS)
                return []
        self._saved = answers
        self._fresh -= fresh
        _settle(settlers, None)
        for id_ in self._waiters.ids():
            self._tell(id_)
        if self._queue.owing():
            self._reports.due.set()
        return sends

    def _undo(
        self, changed: dict[str, Command | None], sends: Iterable[Command], fresh: set[str], why: StorageError
    ) -> None:
        self._queue.put_back(changed)
        self._fresh -= fresh
        for id_ in fresh:
            self._queue.drop(id_)
            self._waiters.refuse(id_, lambda: StorageError(str(why)))
        for command in sends:
            self._queue.not_sent(command.id, self._now())  # of those that are left

    async def _wait(self) -> None:
        at = self._queue.next_at()
        seconds = _LOOK_SECONDS if at is not None else None
        if at is not None:
            seconds = min(max(at - self._clock.seconds(), 0.01), _LOOK_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await self._stir.wait()
        except TimeoutError:
            pass

    def _gate(self, command: Command) -> Gate:
        around, now = self._around, self._clock.seconds()
        if not around.connected() or (command.ordered and around.online(command.device) is False):
            return Gate.WAIT
        try:
            route(command.device, command.name, around.speaks(command.device))
        except RefusedError:  # its protocol is another by now
            return Gate.NEVER
        who = command.scope
        if command.scope:
            try:
                view = around.may(command.scope, command.device, command.name)
            except AwayError:
                return Gate.WAIT
            if view is None:
                return Gate.NEVER
            who = STORE if view.store else command.scope
        return Gate.GO if self.leases.take(command.device, who, now) is None else Gate.WAIT

    async def _hand_over(self, command: Command) -> None:
        try:
            way = route(command.device, command.name, self._around.speaks(command.device))
            await self._around.publish(
                way.topic,
                command.payload,
                response_topic=way.answer_topic,
                correlation_data=command.id.encode() if way.answer_topic else b"",
                # A door must not open an hour after whoever asked for it has gone.
                expiry_seconds=max(1, math.ceil(command.expires_seconds - self._clock.seconds())),
            )
        except LostError:  # sent at most once: it may have been; at least once: again, with the next connection
            log.info("the broker was lost while a command was sent", extra={"command": command.id})
        except (AwayError, RefusedError):
            self._queue.not_sent(command.id, self._now())
        else:
            self._queue.handed_over(command.id, self._now())
        self._tell(command.id)
        self._stir.set()

    def _tell(self, id_: str, payload: bytes | None = None) -> None:
        self._waiters.tell(self._queue.get(id_), payload)

    def _now(self) -> Now:
        return Now(self._clock.boot_id, self._clock.seconds(), self._clock.wall_nano())


def _ack(command: Command | CommandView) -> str:
    return ack_topic(command.device, command.name)


def _settle(settlers: Iterable[asyncio.Future[None]], why: StorageError | None) -> None:
    for settler in settlers:
        if settler.done():
            continue
        if why is None:
            settler.set_result(None)
        else:
            settler.set_exception(why)
