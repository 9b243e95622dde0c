"""agent/config/load.py."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.load import load, parse
from agent.config.schema import Config
from agent.errors import ConfigError


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "agent.toml")
    return str(caught.value).splitlines()


def reported(text: str) -> list[str]:
    try:
        parse(text, "f")
    except ConfigError as error:
        return str(error).split("\n")
    return []


def test_an_empty_file_takes_all_defaults() -> None:
    assert parse("", "agent.toml") == Config()


def test_values_arrive_in_their_section_with_their_type(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        '[node]\nstate_dir = "/srv/edge"\n[link]\nbackoff_base_seconds = 2\n'
        '[mqtt]\nrules_file = "/etc/r"\nenabled = false\n'
        '[telemetry]\nmounts = ["/", "/data"]\ndisabled = ["fans"]\n'
        '[api]\nlisten = "[::]:9443"\n[log]\nlevel = "DEBUG"\n'
    )
    config = load(file)
    assert config.node.state_dir == Path("/srv/edge")
    assert config.node.run_dir == Config().node.run_dir
    assert config.link.backoff_base_seconds == 2.0
    assert isinstance(config.link.backoff_base_seconds, float)
    assert config.mqtt.rules_file == Path("/etc/r")
    assert config.mqtt.enabled is False
    assert config.telemetry.mounts == (Path("/"), Path("/data"))
    assert config.telemetry.disabled == ("fans",)
    assert config.api.listen == "[::]:9443"
    assert config.log.level == "DEBUG"


def test_a_missing_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.toml: no such file; name one with --config"):
        load(tmp_path / "agent.toml")


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be read: Is a directory"):
        load(tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 2"):
        load(file)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[mqtt]\nprot = 1883\n",
            (
                "agent.toml:2: [mqtt] prot: unknown key, did you mean 'port'?; "
                "allowed: enabled, host, port, broker_dir, receive_maximum, rules_file, max_devices"
            ),
        ),
        (
            "[mqqt]\n",
            (
                "agent.toml:1: [mqqt]: unknown table, did you mean 'mqtt'?; "
                "allowed: node, link, spool, telemetry, heat, mqtt, gateway, jobs, images, api, log"
            ),
        ),
        ("[mqtt]\n\nport = 70000", "agent.toml:3: [mqtt] port: is 70000, out of range; allowed: an integer 1..65535"),
        ("[mqtt]\nport = '1883'", "agent.toml:2: [mqtt] port: is a string; allowed: an integer 1..65535"),
        ("[mqtt]\nport = true", "agent.toml:2: [mqtt] port: is a boolean; allowed: an integer 1..65535"),
        ("[mqtt]\nport = 1.0", "agent.toml:2: [mqtt] port: is a number with a fraction; allowed: an integer 1..65535"),
        ("[mqtt]\nport = 2026-01-01", "agent.toml:2: [mqtt] port: is a date or time; allowed: an integer 1..65535"),
        ("mqtt.port = 0", "agent.toml:1: [mqtt] port: is 0, out of range; allowed: an integer 1..65535"),
        ("mqtt = {port = 0}", "agent.toml:1: [mqtt] port: is 0, out of range; allowed: an integer 1..65535"),
        ("mqtt = 3", "agent.toml:1: [mqtt]: is an integer; allowed: a table"),
        ("[mqtt]\nenabled = 1", "agent.toml:2: [mqtt] enabled: is an integer; allowed: true or false"),
        ("[mqtt]\nhost = ''", "agent.toml:2: [mqtt] host: is empty; allowed: a string of at least one character"),
        ("[node]\nstate_dir = 'var'", "agent.toml:2: [node] state_dir: is 'var'; allowed: an absolute path"),
        (
            "[telemetry]\nmounts = '/'",
            "agent.toml:2: [telemetry] mounts: is a string; allowed: a list, each an absolute path",
        ),
        (
            "[telemetry]\nmounts = ['/', 'data']",
            "agent.toml:2: [telemetry] mounts: is 'data'; allowed: a list, each an absolute path",
        ),
        (
            "[telemetry]\ndisabled = [1]",
            "agent.toml:2: [telemetry] disabled: has an integer in it; allowed: a list, each a string",
        ),
        (
            "[telemetry]\ninterval_seconds = nan",
            "agent.toml:2: [telemetry] interval_seconds: is nan, out of range; allowed: a number 0.1..3600.0",
        ),
        (
            "[log]\nlevel = 'info'",
            "agent.toml:2: [log] level: is 'info', did you mean 'INFO'?; allowed: 'DEBUG', 'INFO', 'WARNING', 'ERROR'",
        ),
        (
            "[link]\nbackoff_base_seconds = 9\nbackoff_max_seconds = 2",
            (
                "agent.toml:2: [link] backoff_base_seconds: is 9.0, more than backoff_max_seconds (2.0); "
                "allowed: at most backoff_max_seconds"
            ),
        ),
        (
            "[api]\nlisten = 'nine'",
            "agent.toml:2: [api] listen: 'nine' is not HOST:PORT; allowed: HOST:PORT, or empty for no port",
        ),
        (
            "[heat]\nlimit_celsius = 70.0",
            (
                "agent.toml:1: [heat] cool_celsius: is 80.0, not below limit_celsius (70.0);"
                " allowed: less than limit_celsius"
            ),
        ),
        ("[mqtt]\nport == 1", "agent.toml:2: Invalid value, at column 7"),
    ],
)
def test_a_problem_is_one_line_with_file_line_key_reason_and_what_is_allowed(text: str, line: str) -> None:
    assert problems(text) == [line]


def test_all_problems_of_a_file_are_reported_in_the_order_of_the_file() -> None:
    found = problems("[mqtt]\nprot = 1\n[spool]\nlimit_bytes = 1\n[nood]\n[api]\nlisten = 'x'\n")
    assert [line.split(": ")[0] for line in found] == [f"agent.toml:{n}" for n in (2, 4, 5, 7)]


def test_a_value_that_is_already_reported_is_not_compared_with_others() -> None:
    assert len(problems("[link]\nbackoff_base_seconds = 1000\n")) == 1


def test_a_line_end_in_a_key_does_not_break_the_line() -> None:
    assert problems('[mqtt]\n"a\\nb" = 1')[0].startswith(r"agent.toml:1: [mqtt] a\nb: unknown key")


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "1" * 5000])
def test_a_monstrous_value_is_a_configuration_error(text: str) -> None:
    assert re.match(r"agent\.toml: is not TOML: ", problems(text)[0])


_keys = [(section.name, key.name) for section in fields(Config) for key in fields(section.default)]
_values = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.booleans().map(lambda b: str(b).lower()),
    st.text(
        st.characters(codec="ascii", exclude_characters="'\n\r", min_codepoint=32, max_codepoint=126), max_size=9
    ).map(lambda t: f"'{t}'"),
    st.just("[]"),
    st.just("['/']"),
    st.just("{}"),
)


@given(st.sampled_from(_keys), _values)
def test_any_value_is_either_taken_or_reported_once_at_its_line(key: tuple[str, str], value: str) -> None:
    for line in reported(f"[{key[0]}]\n{key[1]} = {value}\n"):
        assert line.startswith(f"f:2: [{key[0]}] {key[1]}: ")
        assert "; allowed: " in line


@given(st.text(max_size=60))
def test_any_text_is_taken_or_reported_in_whole_lines_that_begin_with_the_file(text: str) -> None:
    assert all(line.startswith("f:") for line in reported(text))
