"""Requests from their JSON: every field bounded, named when it is wrong. Pure, standard library only."""

import re
from collections.abc import Mapping
from typing import Any, cast

from agent.launcher.protocol import MIB, JobRequest, LauncherError, Signal

_RUN = re.compile(r"[a-z0-9][a-z0-9.-]{0,79}")
_WORD = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def _refuse(name: str, allowed: str) -> LauncherError:
    return LauncherError("bad-request", f"{name}: {allowed}", name)


def text(raw: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _refuse(name, f"a string matching {pattern.pattern}")
    return value


def _number(raw: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = raw.get(name)
    if type(value) is not int or not low <= value <= high:
        raise _refuse(name, f"an integer in {low}..{high}")
    return value


def run_name(raw: Mapping[str, Any]) -> str:
    return text(raw, "run", _RUN)


def signal_name(raw: Mapping[str, Any]) -> Signal:
    match raw.get("signal"):
        case "TERM":
            return "TERM"
        case "KILL":
            return "KILL"
        case _:
            raise _refuse("signal", "TERM or KILL")


def _plain(word: str) -> bool:
    """Can be an argument or a variable: no NUL, no lone surrogate (JSON can say both)."""
    return "\0" not in word and not any("\ud800" <= letter <= "\udfff" for letter in word)


def _command(raw: Mapping[str, Any]) -> tuple[str, ...]:
    value = raw.get("command")
    if not isinstance(value, list) or not 1 <= len(cast("list[object]", value)) <= 64:
        raise _refuse("command", "a list of 1..64 strings")
    words: list[str] = []
    for word in cast("list[object]", value):
        if not isinstance(word, str) or not _plain(word):
            raise _refuse("command", "strings of Unicode without NUL")
        words.append(word)
    if not words[0] or sum(len(word.encode()) for word in words) > 16384:
        raise _refuse("command", "a first word, and at most 16384 bytes together")
    return tuple(words)


def _env(raw: Mapping[str, Any]) -> dict[str, str]:
    value = raw.get("env", {})
    if not isinstance(value, dict) or len(cast("dict[object, object]", value)) > 64:
        raise _refuse("env", "an object of at most 64 strings")
    env: dict[str, str] = {}
    for name, content in cast("dict[object, object]", value).items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            raise _refuse("env", f"names matching {_ENV_NAME.pattern}")
        if not isinstance(content, str) or not _plain(content):
            raise _refuse("env", "string values of Unicode without NUL")
        env[name] = content
    if sum(len((k + v).encode()) for k, v in env.items()) > 16384:
        raise _refuse("env", "at most 16384 bytes together")
    return env


_JOB_FIELDS = frozenset(
    {"run", "tenant", "job", "image", "command", "cpu_milli", "memory_bytes", "pids", "log_bytes", "tmp_bytes", "env"}
)


def parse_job(raw: Mapping[str, Any]) -> JobRequest:
    """A request from its JSON object. Raises LauncherError(bad-request) that names the field and what it takes."""
    unknown = set(raw) - _JOB_FIELDS - {"op"}
    if unknown:
        raise LauncherError("bad-request", f"unknown field {min(unknown)}", min(unknown))
    memory_bytes = _number(raw, "memory_bytes", 4 * MIB, 1 << 50)
    return JobRequest(
        run=run_name(raw),
        tenant=text(raw, "tenant", _WORD),
        job=text(raw, "job", re.compile(r"[a-z0-9][a-z0-9-]{0,47}")),
        image=text(raw, "image", re.compile(r"host")),
        command=_command(raw),
        cpu_milli=_number(raw, "cpu_milli", 10, 1_024_000),
        memory_bytes=memory_bytes,
        pids=_number(raw, "pids", 4, 4096),
        log_bytes=_number(raw, "log_bytes", 4096, 64 * MIB),
        tmp_bytes=_number(raw, "tmp_bytes", 65536, memory_bytes),
        env=_env(raw),
    )
