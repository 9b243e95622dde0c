"""What `edge-agent doctor` looks at, in the order it says it. A check is a file with NAME and `check(box)`."""

from types import ModuleType

from agent.cli.checks import broker, certificate, clock, disk, first_boot, key, launcher, link, memory, spool, tools

CHECKS: tuple[ModuleType, ...] = (
    launcher,
    memory,
    tools,
    first_boot,
    certificate,
    key,
    clock,
    disk,
    spool,
    broker,
    link,
)
