"""edge-agent run: the daemon."""

import asyncio
import gc
import sys
from pathlib import Path

from agent import app, log
from agent.config.load import load
from agent.errors import ConfigError, EdgeError

# Objects that were made and not yet freed before the collector looks at them. A batch of messages is some thousands,
# none of them in a cycle: at Python's 700 it looked five times at each batch, a third of what making it cost.
_YOUNG = 10_000


def run(config_file: Path | str) -> int:
    """0 after an orderly stop; 78 (EX_CONFIG, sysexits.h) when a person must mend something first; 1 otherwise."""
    try:
        config = load(Path(config_file))
        log.configure(config.log.level)
        gc.set_threshold(_YOUNG)
        asyncio.run(app.run(config, Path(config_file)))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 78
    except EdgeError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return 1
    return 0
