"""Whether the launcher answers, and what it can do here."""

from agent.cli.checks.finding import Box, Finding
from agent.errors import EdgeError

NAME = "launcher"


def check(box: Box) -> Finding:
    if not box.config.jobs.enabled:
        return Finding("ok", "jobs are off ([jobs] enabled = false)")
    if isinstance(box.launcher, EdgeError):
        remedy = (
            "systemctl status edge-launcher.socket edge-launcher.service; run doctor as root or as the agent's user"
        )
        return Finding("fail", str(box.launcher), remedy)
    facts = box.launcher
    text = f"{facts.runtime} {facts.runtime_version}, cgroup {facts.cgroup}, {facts.cpus} CPUs"
    missing = [what for what, there in (("networks", facts.network), ("idmapped mounts", facts.idmap)) if not there]
    if missing:
        remedy = "apt install nftables iproute2; [network] in /etc/edge-agent/launcher.toml; a kernel of 5.12 or newer"
        return Finding("warn", f"{text}; jobs have no {' and no '.join(missing)} here", remedy)
    return Finding("ok", text)
