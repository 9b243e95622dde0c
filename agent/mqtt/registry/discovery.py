"""Home Assistant's MQTT discovery: what a config says about later messages. Pure."""

from typing import Any, cast

from agent.mqtt.registry.decoded import MAX_NAME_BYTES, MAX_VALUES, Malformed, fitting_unit, size
from agent.mqtt.registry.readings import Reading, Sort
from agent.mqtt.registry.template import path
from agent.mqtt.rules.payload import decoded
from agent.mqtt.topics import MAX_TOPIC_BYTES

MAX_CONFIG_BYTES = 32 * 1024

# Components that have one reading. A light or a thermostat has many, in words of its own: it stays as it is.
_SORTS = {
    "sensor": Sort.NUMBER_OR_TEXT,
    "number": Sort.NUMBER,
    "binary_sensor": Sort.FLAG,
    "switch": Sort.FLAG,
    "select": Sort.TEXT,
    "text": Sort.TEXT,
}
# The short keys that Home Assistant's documentation lists, of those that are read here.
_SHORT = {
    "cmps": "components",
    "dev_cla": "device_class",
    "p": "platform",
    "pl_off": "payload_off",
    "pl_on": "payload_on",
    "stat_off": "state_off",
    "stat_on": "state_on",
    "stat_t": "state_topic",
    "unit_of_meas": "unit_of_measurement",
    "val_tpl": "value_template",
}

_Config = dict[str, Any]


def parse(topic: str, payload: bytes) -> tuple[Reading, ...] | Malformed:
    """The readings that a config announces: none when it is withdrawn, or of no kind that is read here. Never raises.

    `topic` is `homeassistant/<component>/[<node>/]<object>/config`. At most 64 readings.
    """
    if not payload.strip():
        return ()
    if len(payload) > MAX_CONFIG_BYTES:
        return Malformed(f"a discovery config over {MAX_CONFIG_BYTES} bytes")
    try:
        document = decoded(payload)
    except ValueError:
        return Malformed("a discovery config that is no JSON")
    if not isinstance(document, dict):
        return Malformed("a discovery config that is no JSON object")
    config = _long(cast(_Config, document))
    levels = topic.split("/")
    if len(levels) < 4:
        return ()
    component, name = levels[1], levels[-2]
    if component != "device":
        found = _reading(component, name, config)
        return () if found is None else (found,)
    return _of_device(config)


def _of_device(config: _Config) -> tuple[Reading, ...]:
    """One config for a whole device: its components have keys of their own, or the device's."""
    components = config.get("components")
    if not isinstance(components, dict):
        return ()
    shared: _Config = {key: config[key] for key in ("~", "state_topic") if key in config}
    found: list[Reading] = []
    for name, each in cast(_Config, components).items():
        if isinstance(each, dict) and len(found) < MAX_VALUES:
            own: _Config = {**shared, **_long(cast(_Config, each))}
            reading = _reading(own.get("platform"), name, own)
            if reading is not None:
                found.append(reading)
    return tuple(found)


def _long(config: _Config) -> _Config:
    return {_SHORT.get(key, key): value for key, value in config.items()}


def _reading(component: object, name: str, config: _Config) -> Reading | None:
    """Its name is where it stands in the payload, else what the config calls it, else the topic's.

    None for a component without one reading, or with a template that isn't one of the common forms.
    """
    sort = _SORTS.get(component) if isinstance(component, str) else None
    topic = _topic(config)
    template = config.get("value_template", "{{ value }}")
    if sort is None or not topic or not isinstance(template, str):
        return None
    where = path(template)
    if not isinstance(where, tuple | None):
        return None
    if where:
        name = ".".join(map(str, where))
    elif isinstance(said := config.get("name"), str) and said:
        name = said
    if size(name) > MAX_NAME_BYTES:
        return None
    unit = config.get("unit_of_measurement")
    on, off = config.get("payload_on", "ON"), config.get("payload_off", "OFF")
    if component == "switch":  # what it is told, unless it says in other words what it is
        on, off = config.get("state_on", on), config.get("state_off", off)
    if isinstance(unit, str) and unit and sort is Sort.NUMBER_OR_TEXT:
        sort = Sort.NUMBER
    return Reading(topic, name, fitting_unit(unit) if isinstance(unit, str) else "", sort, where, _word(on), _word(off))


def _topic(config: _Config) -> str:
    """The state topic, with the base for a `~` at its start or its end; empty when there is none."""
    topic, base = config.get("state_topic"), config.get("~", "")
    if not isinstance(topic, str) or not isinstance(base, str):
        return ""
    if topic.startswith("~"):
        topic = base + topic[1:]
    elif topic.endswith("~"):
        topic = topic[:-1] + base
    return topic if size(topic) <= MAX_TOPIC_BYTES else ""


def _word(said: object) -> str:
    return str(said)[:MAX_NAME_BYTES] if isinstance(said, str | bool | int | float) else ""
