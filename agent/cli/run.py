"""edge-agent run: the daemon."""

import asyncio
import sys
from pathlib import Path

from agent import app, log
from agent.config.load import load
from agent.errors import ConfigError, EdgeError


def run(config_file: Path | str) -> int:
    """0 after an orderly stop; 78 (EX_CONFIG, sysexits.h) when a person must mend something first; 1 otherwise."""
    try:
        config = load(Path(config_file))
        log.configure(config.log.level)
        asyncio.run(app.run(config, Path(config_file)))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 78
    except EdgeError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return 1
    return 0
