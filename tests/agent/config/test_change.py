"""agent/config/change.py."""

from dataclasses import fields

from agent.config.change import change, is_live
from agent.config.load import parse
from agent.config.schema import Config

TEXT = '[log]\nlevel = "DEBUG"\n[mqtt]\nport = 1884\n[link]\nbackoff_max_seconds = 5.0\n[jobs]\nreserve_cpu_milli = 7\n'


def test_what_can_change_changes_and_what_cant_is_named() -> None:
    found = change(Config(), parse(TEXT, "agent.toml"))
    assert found.now == ("[link] backoff_max_seconds", "[jobs] reserve_cpu_milli", "[log] level")
    assert found.later == ("[mqtt] port",)
    assert (found.config.log.level, found.config.jobs.reserve_cpu_milli) == ("DEBUG", 7)
    assert found.config.mqtt == Config().mqtt


def test_what_takes_a_restart_is_named_again_until_there_is_one() -> None:
    new = parse(TEXT, "agent.toml")
    again = change(change(Config(), new).config, new)
    assert (again.now, again.later) == ((), ("[mqtt] port",))


def test_the_same_file_changes_nothing() -> None:
    assert change(Config(), Config()) == change(Config(), parse("", "agent.toml"))
    assert change(Config(), Config()).now == change(Config(), Config()).later == ()


def test_every_live_key_exists() -> None:
    keys = {(section.name, key.name) for section in fields(Config) for key in fields(getattr(Config(), section.name))}
    live = {f"{section}.{key}" for section, key in keys if is_live(section, key)}
    assert {"log.level", "telemetry.interval_seconds", "telemetry.batch_ticks", "images.layouts"} <= live
    assert {section for section, _ in keys if all(is_live(*each) for each in keys if each[0] == section)} == {
        "link", "heat", "log",
    }  # fmt: skip
    assert len(live) == 5 + 2 + 4 + 3 + 2 + 1
