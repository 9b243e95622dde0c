"""What became of an enrolment file on the boot partition or a stick, as long as this box is not enrolled."""

from agent.cli import enrol_file, first_boot
from agent.cli.checks.finding import Box, Finding
from agent.identity import store

NAME = "enrolment file"

_REMEDIES = {
    "waiting": "it is tried until central answers; is the network cable in? the line of the clock?",
    "refused": f"mend {enrol_file.NAME} or put a new token into it, then reboot or plug the stick in again",
}


def check(box: Box) -> Finding:
    told = first_boot.told(box.config.node.state_dir)
    if told is None or told.outcome == "enrolled":
        return Finding("ok", f"{told.file} enrolled this box at {told.time}" if told else "none was ever tried")
    if store.is_enrolled(box.config.node.state_dir):
        return Finding("ok", "enrolled without it")
    return Finding("fail", f"{told.time}: {' | '.join(told.text.splitlines())}", _REMEDIES.get(told.outcome, ""))
