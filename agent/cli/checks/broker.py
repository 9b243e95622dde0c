"""Whether the broker for devices listens, and has the certificates that devices on the store's network ask for."""

from agent.cli.checks.finding import Box, Finding, answers

NAME = "broker"
_FILES = ("ca.crt", "server.crt", "server.key", "revoked.crl")


def check(box: Box) -> Finding:
    mqtt = box.config.mqtt
    if not mqtt.enabled:
        return Finding("ok", "the bridge to devices is off ([mqtt] enabled = false)")
    missing = [name for name in _FILES if not (mqtt.broker_dir / name).exists()]
    if reason := answers(mqtt.host, mqtt.port):
        text = f"{mqtt.host}:{mqtt.port}: {reason}" + (
            f"; {mqtt.broker_dir} lacks {', '.join(missing)}" * bool(missing)
        )
        return Finding(
            "fail", text, "edge-agent broker prepare >/dev/null says what is wrong; systemctl status mosquitto"
        )
    if missing:
        remedy = "edge-agent broker prepare >/dev/null says why; then systemctl restart mosquitto"
        return Finding("fail", f"{mqtt.broker_dir} lacks {', '.join(missing)}", remedy)
    return Finding("ok", f"{mqtt.host}:{mqtt.port} listens, the certificates are there")
