"""Commands under way, and those that ended lately: which is sent when, and what becomes of it. Pure.

Each method notes what it changed; nothing of it may be acted on before what `take` returns is on disk.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from agent.errors import RefusedError
from agent.orders import CommandState, CommandView

# Under way at once. Twenty bytes to 64 KiB each, in memory and on disk; one tenant gets a quarter of it.
MAX_LIVE = 1024
MAX_LIVE_OF_DEVICE = 64
MAX_LIVE_BYTES = 4 << 20
_TENANTS_PART = 4
# Ended commands that can still be listed, and whose keys are still known.
MAX_ENDED = 1000
KEEP_SECONDS = 86400.0
KEPT_ANSWER_BYTES = 4096
# Between two attempts of one at-least-once command: doubled each time.
RETRY_SECONDS = 5.0
RETRY_CAP_SECONDS = 300.0

_NANO = 1_000_000_000

# What an ended command still owes: an entry in the audit trail, an answer to the tenant who asked.
RECORD, REPLY = 1, 2


class Gate(Enum):
    """What the moment says to a command whose turn it is."""

    GO = "go"
    WAIT = "wait"
    NEVER = "never"  # whoever asked may not any more


@dataclass(frozen=True, slots=True)
class Command:
    """`scope` is the tenant who asked, or empty; keys of one scope mean nothing in another.

    `expires_seconds` is CLOCK_BOOTTIME of the boot `boot_id`: within a boot the wall clock may jump. `kept`: it waits
    for a device that is away. `answer` is at most KEPT_ANSWER_BYTES of it. It is `ended` for good but for two things:
    a late answer, and what it owes.
    """

    id: str
    scope: str
    actor: str
    device: str
    name: str
    payload: bytes
    key: str
    at_least_once: bool
    kept: bool
    answered_by_device: bool
    asked_unix_nano: int
    expires_unix_nano: int
    boot_id: str
    expires_seconds: float
    reply_topic: str = ""
    reply_correlation: bytes = b""
    state: CommandState = CommandState.QUEUED
    sent: int = 0
    answer: bytes = b""
    answer_bytes: int = 0
    ended_unix_nano: int = 0
    owes: int = 0

    @property
    def ended(self) -> bool:
        return self.ended_unix_nano != 0

    @property
    def ordered(self) -> bool:
        """Whether it takes its place behind others of its device; what a person waits for goes past them."""
        return self.at_least_once or self.kept

    @property
    def view(self) -> CommandView:
        return CommandView(
            self.id,
            self.device,
            self.name,
            self.actor,
            self.state,
            self.asked_unix_nano,
            self.expires_unix_nano,
            self.sent,
            self.answer,
        )


@dataclass(frozen=True, slots=True)
class Now:
    boot_id: str
    seconds: float
    unix_nano: int


class Queue:
    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}  # by id, which grows
        self._live: dict[str, dict[str, Command]] = {}  # by device
        self._keys: dict[tuple[str, str, str, str], str] = {}
        self._retry_at: dict[str, float] = {}
        self._changed: dict[str, Command | None] = {}

    # --- what there is ---

    @property
    def changed(self) -> bool:
        return bool(self._changed)

    def take(self) -> dict[str, Command | None]:
        """What has changed since the last call; None = forgotten."""
        changed, self._changed = self._changed, {}
        return changed

    def put_back(self, changed: dict[str, Command | None]) -> None:
        """It could not be written: it stays due, as it is by now."""
        for id_ in changed:
            self._changed.setdefault(id_, self._commands.get(id_))

    def get(self, id_: str) -> Command | None:
        return self._commands.get(id_)

    def find(self, scope: str, device: str, name: str, key: str) -> Command | None:
        id_ = self._keys.get((scope, device, name, key)) if key else None
        return None if id_ is None else self._commands[id_]

    def views(self, device: str, after: str) -> tuple[CommandView, ...]:
        """By id; `device` empty = of all."""
        return tuple(c.view for id_, c in self._commands.items() if id_ > after and (not device or c.device == device))

    def owing(self) -> list[Command]:
        return [c for c in self._commands.values() if c.ended and c.owes]

    # --- what happens ---

    def restore(self, commands: Iterable[Command], now: Now) -> None:
        """Begin with what is on disk.

        What was sent at least once is sent again now. What a caller waited for in vain, who has gone with the process,
        is over: a door must not open an hour after whoever asked for it has left.
        """
        for command in sorted(commands, key=lambda c: c.id):
            self._put(command, note=False)
            if command.ended:
                continue
            left = command.expires_seconds - now.seconds
            if command.boot_id != now.boot_id:
                whole = (command.expires_unix_nano - command.asked_unix_nano) / _NANO
                left = min(max((command.expires_unix_nano - now.unix_nano) / _NANO, 0.0), whole)
            self._put(replace(command, boot_id=now.boot_id, expires_seconds=now.seconds + left))
            if command.state is CommandState.QUEUED and not command.ordered:
                self._end(command.id, CommandState.EXPIRED, now)

    def add(self, command: Command) -> None:
        """Raises RefusedError NO_ROOM."""
        live = [c for of_device in self._live.values() for c in of_device.values()]
        if len(self._live.get(command.device, ())) >= MAX_LIVE_OF_DEVICE:
            raise RefusedError("NO_ROOM", f"{MAX_LIVE_OF_DEVICE} commands for device {command.device} are under way")
        part = _TENANTS_PART if command.scope else 1
        mine = [c for c in live if c.scope == command.scope] if command.scope else live
        if len(mine) >= MAX_LIVE // part:
            raise RefusedError("NO_ROOM", f"{MAX_LIVE // part} commands are under way")
        if sum(len(c.payload) for c in mine) + len(command.payload) > MAX_LIVE_BYTES // part:
            raise RefusedError("NO_ROOM", f"the commands under way have {MAX_LIVE_BYTES // part} bytes of payload")
        self._put(command)

    def drop(self, id_: str) -> None:
        """It never got to the disk: it was never asked."""
        command = self._commands.pop(id_)
        self._forget_index(command)
        self._changed.pop(id_, None)

    def turn(self, now: Now, gate: Callable[[Command], Gate]) -> list[Command]:
        """What is to be sent now, in order. Once they are on disk as sent, and not before.

        Of one device, an at-least-once command must have ended before the next ordered one is sent.
        """
        self._expire(now)
        send: list[Command] = []
        for of_device in list(self._live.values()):
            blocked = False
            for command in list(of_device.values()):
                if command.ordered and blocked:
                    continue
                send += self._turn_of(command, now, gate)
                after = self._commands[command.id]
                blocked = blocked or (
                    not after.ended and after.ordered and (after.at_least_once or after.state is CommandState.QUEUED)
                )
        return send

    def _turn_of(self, command: Command, now: Now, gate: Callable[[Command], Gate]) -> list[Command]:
        again = command.state is CommandState.SENT
        if again and (not command.at_least_once or now.seconds < self._retry_at.get(command.id, 0.0)):
            return []
        match gate(command):
            case Gate.WAIT:
                return []
            case Gate.NEVER:
                self._end(command.id, CommandState.UNANSWERED if command.sent else CommandState.CANCELLED, now)
                return []
            case Gate.GO:
                sent = self._put(replace(command, state=CommandState.SENT, sent=command.sent + 1))
                self._retry_at[sent.id] = now.seconds + min(
                    RETRY_SECONDS * 2 ** min(sent.sent - 1, 10), RETRY_CAP_SECONDS
                )
                return [sent]

    def revive(self, device: str | None) -> None:
        """The device (None: the broker) came back: what waits for its answer is due."""
        for of_device in [self._live.get(device, {})] if device is not None else self._live.values():
            for id_ in of_device:
                self._retry_at.pop(id_, None)

    def not_sent(self, id_: str, now: Now) -> None:
        """The broker was away after all. What nobody waits for any more ends; the rest has its turn again."""
        command = self._commands.get(id_)
        if command is None or command.ended:
            return
        command = replace(command, sent=command.sent - 1)
        self._put(replace(command, state=CommandState.SENT if command.sent else CommandState.QUEUED))
        if not command.ordered:
            self._end(id_, CommandState.EXPIRED, now)

    def handed_over(self, id_: str, now: Now) -> None:
        """The broker has it. A device whose protocol has no answer is done with that."""
        command = self._commands.get(id_)
        if command is not None and not command.ended and not command.answered_by_device:
            self._end(id_, CommandState.SENT, now)

    def match(self, device: str, name: str, correlation_data: bytes, waited_for: Callable[[str], bool]) -> str | None:
        """The command that an answer is for. Without correlation data: the only one of that name that waits."""
        if correlation_data:
            command = self._commands.get(correlation_data.decode(errors="replace"))
            fits = command is not None and (command.device, command.name) == (device, name) and command.sent > 0
            return command.id if command is not None and fits else None
        same = [
            c.id
            for c in self._commands.values()
            if (c.device, c.name) == (device, name)
            and c.sent
            and (not c.ended or (c.state is CommandState.UNANSWERED and waited_for(c.id)))
        ]
        return same[0] if len(same) == 1 else None

    def answer(self, id_: str, payload: bytes, now: Now) -> bool:
        """Whether it is the first; a late one is one, too: it was carried out after all."""
        command = self._commands[id_]
        if command.ended and command.state is not CommandState.UNANSWERED:
            return False
        self._put(replace(command, answer=payload[:KEPT_ANSWER_BYTES], answer_bytes=len(payload)))
        self._end(id_, CommandState.ANSWERED, now)
        return True

    def cancel(self, id_: str, now: Now) -> None:
        """What was sent may have been carried out: that can't be taken back, it only isn't sent again.

        Raises RefusedError NOT_FOUND, CONFLICT.
        """
        command = self._commands.get(id_)
        if command is None:
            raise RefusedError("NOT_FOUND", f"no command {id_[:64]!r} is known here")
        if command.ended:
            raise RefusedError("CONFLICT", f"command {id_} has ended: {command.state}")
        self._end(id_, CommandState.UNANSWERED if command.sent else CommandState.CANCELLED, now)

    def owe_again(self, id_: str, reply_topic: str, reply_correlation: bytes) -> None:
        """It was asked for once more, with its key: the answer goes to who asked last."""
        command = replace(self._commands[id_], reply_topic=reply_topic, reply_correlation=reply_correlation)
        self._put(replace(command, owes=command.owes | REPLY) if command.ended else command)

    def paid(self, id_: str, debt: int, now: Now) -> None:
        command = self._commands.get(id_)
        if command is not None:
            self._put(replace(command, owes=command.owes & ~debt))
        self._tidy(now)

    def next_at(self) -> float | None:
        """CLOCK_BOOTTIME seconds at which time alone changes something."""
        times = [
            min(c.expires_seconds, self._retry_at.get(id_, c.expires_seconds) if c.at_least_once else c.expires_seconds)
            for of_device in self._live.values()
            for id_, c in of_device.items()
        ]
        return min(times, default=None)

    # --- inside ---

    def _expire(self, now: Now) -> None:
        for of_device in list(self._live.values()):
            for command in list(of_device.values()):
                if command.expires_seconds <= now.seconds:
                    self._end(command.id, CommandState.UNANSWERED if command.sent else CommandState.EXPIRED, now)

    def _end(self, id_: str, state: CommandState, now: Now) -> None:
        command = self._commands[id_]
        owes = RECORD | (REPLY if command.reply_topic else 0)
        self._put(replace(command, state=state, payload=b"", ended_unix_nano=now.unix_nano or 1, owes=owes))

    def _put(self, command: Command, *, note: bool = True) -> Command:
        self._commands[command.id] = command
        if command.key:
            self._keys[_key(command)] = command.id
        if command.ended:
            self._forget_live(command)
        else:
            self._live.setdefault(command.device, {})[command.id] = command
        if note:
            self._changed[command.id] = command
        return command

    def _tidy(self, now: Now) -> None:
        ended = [c for c in self._commands.values() if c.ended and not c.owes]
        surplus = len(ended) - MAX_ENDED
        for at, command in enumerate(ended):
            if at < surplus or now.unix_nano - command.ended_unix_nano > KEEP_SECONDS * _NANO:
                del self._commands[command.id]
                self._forget_index(command)
                self._changed[command.id] = None

    def _forget_index(self, command: Command) -> None:
        self._forget_live(command)
        if self._keys.get(_key(command)) == command.id:
            del self._keys[_key(command)]

    def _forget_live(self, command: Command) -> None:
        of_device = self._live.get(command.device)
        if of_device is not None:
            of_device.pop(command.id, None)
            if not of_device:
                del self._live[command.device]
        self._retry_at.pop(command.id, None)


def _key(command: Command) -> tuple[str, str, str, str]:
    return command.scope, command.device, command.name, command.key
