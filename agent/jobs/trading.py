"""What the store keeps for itself, by the hours of its own day. Pure, but for the time zones that the system has.

zoneinfo is imported only by a store that names a time zone: the daemon's memory is short.
"""

from datetime import UTC, datetime, timedelta, tzinfo

from agent.errors import RefusedError
from agent.spec import Reserve, StorePolicy, TradingHours

_DAY_MINUTES = 24 * 60


def check(policy: StorePolicy) -> None:
    """Raises RefusedError(BAD_REQUEST) for a time zone that this box doesn't know."""
    _zone(policy.timezone)


def hours_at(policy: StorePolicy, unix_seconds: float) -> TradingHours | None:
    """The first trading hours that cover the moment; None outside of all. Raises as `check` does."""
    if not policy.hours:
        return None
    local = datetime.fromtimestamp(unix_seconds, _zone(policy.timezone))
    minute, weekday = local.hour * 60 + local.minute, local.isoweekday()
    day_before = (local.date() - timedelta(days=1)).isoweekday()
    for hours in policy.hours:
        overnight = hours.to_minute <= hours.from_minute
        today = minute >= hours.from_minute and (overnight or minute < hours.to_minute)
        if today and _on(hours, weekday):
            return hours
        if overnight and minute < hours.to_minute and _on(hours, day_before):
            return hours
    return None


def reserve_at(policy: StorePolicy, unix_seconds: float) -> Reserve:
    """Raises as `check` does."""
    hours = hours_at(policy, unix_seconds)
    return hours.reserve if hours is not None else policy.reserve


def largest(policy: StorePolicy) -> Reserve:
    """Of each resource, the most that is reserved at any time of the week."""
    every = [policy.reserve, *(hours.reserve for hours in policy.hours)]
    return Reserve(
        cpu_milli=max(reserve.cpu_milli for reserve in every),
        memory_bytes=max(reserve.memory_bytes for reserve in every),
        disk_bytes=max(reserve.disk_bytes for reserve in every),
    )


def describe(policy: StorePolicy, unix_seconds: float) -> str:
    """For people: the hours that are the reason for the reserve of the moment, or nothing."""
    hours = hours_at(policy, unix_seconds)
    if hours is None:
        return ""
    return f"trading hours {_clock(hours.from_minute)}-{_clock(hours.to_minute)} {policy.timezone or 'UTC'}"


def _on(hours: TradingHours, weekday: int) -> bool:
    return not hours.weekdays or weekday in hours.weekdays


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _zone(name: str) -> tzinfo:
    if not name:
        return UTC
    import zoneinfo  # noqa: PLC0415  # most boxes never need it, and all of them would hold it in memory

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RefusedError("BAD_REQUEST", f"store.timezone: this box knows no time zone {name!r}") from error
