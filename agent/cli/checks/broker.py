"""Whether the broker for devices listens."""

from agent.cli.checks.finding import Box, Finding, answers

NAME = "broker"


def check(box: Box) -> Finding:
    mqtt = box.config.mqtt
    if not mqtt.enabled:
        return Finding("ok", "the bridge to devices is off ([mqtt] enabled = false)")
    if reason := answers(mqtt.host, mqtt.port):
        remedy = "systemctl status mosquitto; [mqtt] host and port in agent.toml"
        return Finding("fail", f"{mqtt.host}:{mqtt.port}: {reason}", remedy)
    return Finding("ok", f"{mqtt.host}:{mqtt.port} listens")
