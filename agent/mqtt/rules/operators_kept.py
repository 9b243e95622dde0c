"""The operator's rules in force: those of the file, or of the file as it was when it was last good."""

import logging
from pathlib import Path

from agent.errors import ConfigError
from agent.fsio import write_atomic
from agent.mqtt.rules.operators_file import parse, read
from agent.spec import DeviceRule

log = logging.getLogger(__name__)


def current(path: Path, kept: Path) -> tuple[DeviceRule, ...]:
    """What `path` says. If that is wrong, it is complained of, and what it said before holds: its copy in `kept`.

    So a mistake lets nothing out that a rule kept in, also over a restart. Blocks. Raises ConfigError when the file is
    wrong and was never right.
    """
    try:
        text = read(path)
        rules = parse(text, str(path))
    except ConfigError as why:
        if not kept.exists():
            raise
        for line in str(why).splitlines():
            log.error("rules file is wrong, the old rules stay", extra={"reason": line})  # noqa: TRY400  no traceback
        return parse(read(kept), str(kept))
    try:
        if not kept.exists() or read(kept) != text:
            write_atomic(kept, text.encode())
    except OSError as why:  # a full disk: they hold all the same, until a restart meets a file that is wrong
        log.warning("rules can't be kept beside the spool", extra={"file": kept, "reason": why})
    return rules
