"""Which runs had grants when the agent last wrote its book: for the broker's start, when no agent may be there."""

import sqlite3
from pathlib import Path

from agent.jobs import rows
from agent.jobs.grants import views
from agent.spec import MqttView


def live(path: Path, boot_id: str) -> frozenset[MqttView]:
    """From jobs.db, which the agent may have open. None of another boot, and none when it can't be read.

    Not of the store's own (MqttView.store): the broker doesn't ask.
    """
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            if dict(db.execute("SELECT key, value FROM meta")).get("boot_id") != boot_id:
                return frozenset()
            return views(rows.job_from_json(text) for (text,) in db.execute("SELECT job_json FROM job"))
        finally:
            db.close()
    except (sqlite3.Error, ValueError, TypeError, KeyError):
        return frozenset()
