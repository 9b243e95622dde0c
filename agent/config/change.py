"""What of a changed agent.toml takes effect while the agent runs. Pure."""

from dataclasses import dataclass, fields, replace

from agent.config.schema import Config

# The others are in what is built once at the start: sockets, directories, databases, lists of collectors.
_LIVE = {
    "link": None,  # all of it, from the next session on
    "telemetry": {"interval_seconds", "batch_ticks"},
    "heat": None,
    "jobs": {"reserve_cpu_milli", "reserve_memory_bytes", "reserve_disk_bytes"},
    "images": {"limit_bytes", "layouts"},
    "log": {"level"},
}


@dataclass(frozen=True, slots=True)
class Change:
    """`config` is what holds now: the old one, with the keys of the new one that `now` names. `later` take a restart.

    Keys are written as in the file: "[log] level".
    """

    config: Config
    now: tuple[str, ...]
    later: tuple[str, ...]


def change(old: Config, new: Config) -> Change:
    config, now, later = old, list[str](), list[str]()
    for section in fields(Config):
        before, after = getattr(old, section.name), getattr(new, section.name)
        for key in fields(before):
            value = getattr(after, key.name)
            if value == getattr(before, key.name):
                continue
            name = f"[{section.name}] {key.name}"
            if is_live(section.name, key.name):
                now.append(name)
                config = replace(config, **{section.name: replace(getattr(config, section.name), **{key.name: value})})
            else:
                later.append(name)
    return Change(config, tuple(now), tuple(later))


def is_live(section: str, key: str) -> bool:
    keys = _LIVE.get(section, set[str]())
    return keys is None or key in keys
