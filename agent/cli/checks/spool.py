"""How full the spool is: records that wait for central, and soon the least important go first."""

import contextlib
import sqlite3

from agent.cli.checks.finding import Box, Finding

NAME = "spool"

_WARN_PERCENT = 50


def check(box: Box) -> Finding:
    path, limit = box.config.node.state_dir / "spool.db", box.config.spool.limit_bytes
    if not path.exists():
        return Finding("ok", "none yet")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as db:
            records, held, dropped = db.execute("SELECT sum(records), sum(bytes), sum(dropped) FROM class").fetchone()
    except sqlite3.Error as error:
        return Finding("fail", f"{path}: {error}", "a damaged spool is set aside at the agent's next start")
    percent = (held or 0) * 100 // limit
    text = f"{records or 0} records wait, {percent} % of {limit >> 20} MiB"
    if dropped:
        return Finding("warn", f"{text}; {dropped} were dropped", "let it reach central, or raise [spool] limit_bytes")
    if percent >= _WARN_PERCENT:
        return Finding("warn", text, "it fills while central is away: see the line of central")
    return Finding("ok", text)
