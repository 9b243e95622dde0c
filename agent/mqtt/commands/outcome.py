"""What may be asked, and how the end of a command reads to whoever asked. Pure."""

from dataclasses import dataclass

from agent.errors import RefusedError
from agent.mqtt.commands.queue import Command, Now
from agent.mqtt.topics import is_command_name
from agent.orders import CommandAnswer, CommandOrder, CommandState

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_KEY_BYTES = 64
MAX_TIMEOUT_SECONDS = 60.0
MAX_QUEUE_SECONDS = 604_800


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks: `scope` is a tenant or empty; `store`: its job is the store's own. Its answer goes to `reply_topic`."""

    scope: str = ""
    store: bool = True
    reply_topic: str = ""
    reply_correlation: bytes = b""


def check(order: CommandOrder) -> None:
    """Raises RefusedError BAD_REQUEST."""
    if not is_command_name(order.name):
        raise RefusedError("BAD_REQUEST", f"command name {order.name[:64]!r} must be 1..64 of [A-Za-z0-9_-]")
    if len(order.payload) > MAX_PAYLOAD_BYTES:
        raise RefusedError("BAD_REQUEST", f"payload of {len(order.payload)} bytes; at most {MAX_PAYLOAD_BYTES}")
    if not 0 < order.timeout_seconds <= MAX_TIMEOUT_SECONDS:
        raise RefusedError("BAD_REQUEST", f"timeout of {order.timeout_seconds:g} s must be over 0 and at most 60")
    if not 0 <= order.queue_seconds <= MAX_QUEUE_SECONDS:
        raise RefusedError("BAD_REQUEST", f"queued for {order.queue_seconds} s; at most {MAX_QUEUE_SECONDS}")
    if len(order.idempotency_key.encode()) > MAX_KEY_BYTES:
        raise RefusedError("BAD_REQUEST", f"idempotency key over {MAX_KEY_BYTES} bytes")


def new_command(id_: str, order: CommandOrder, asked: Asked, now: Now, *, answers: bool) -> Command:
    seconds = max(order.timeout_seconds, order.queue_seconds)
    return Command(
        id=id_,
        scope=asked.scope,
        actor=order.actor,
        device=order.device,
        name=order.name,
        payload=order.payload,
        key=order.idempotency_key,
        at_least_once=order.at_least_once,
        kept=order.queue_seconds > 0,
        answered_by_device=answers,
        asked_unix_nano=now.unix_nano,
        expires_unix_nano=now.unix_nano + int(seconds * 1e9),
        boot_id=now.boot_id,
        expires_seconds=now.seconds + seconds,
        reply_topic=asked.reply_topic,
        reply_correlation=asked.reply_correlation,
    )


def outcome(command: Command, payload: bytes | None, now: Now) -> CommandAnswer | None:
    """How it ended, for who waits; `payload` is the whole answer when it comes just now.

    None: a late answer may still come. Raises RefusedError AWAY, DEADLINE, CONFLICT.
    """
    match command.state:
        case CommandState.ANSWERED if payload is None and command.answer_bytes > len(command.answer):
            raise RefusedError(
                "CONFLICT",
                f"command {command.id} was answered with {command.answer_bytes} bytes, of which"
                f" {len(command.answer)} were kept",
            )
        case CommandState.ANSWERED:
            answer = command.answer if payload is None else payload
            elapsed = max(command.ended_unix_nano - command.asked_unix_nano, 0)
            return CommandAnswer(command.id, command.state, answer, round(elapsed / 1e6))
        case CommandState.SENT:
            return CommandAnswer(command.id, command.state)
        case CommandState.UNANSWERED:
            return None
        case CommandState.CANCELLED:
            raise RefusedError("CONFLICT", f"command {command.id} was cancelled")
        case CommandState.EXPIRED if command.expires_seconds > now.seconds:
            raise RefusedError("AWAY", "the broker is away; nothing was sent")
        case _:
            raise RefusedError("DEADLINE", unanswered(command))


def unanswered(command: Command) -> str:
    if command.sent:
        return f"device {command.device} has not answered {command.name} in time; it may have been carried out"
    return f"command {command.name} was not sent to device {command.device} in time"
