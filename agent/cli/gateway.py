"""edge-agent gateway: the HTTPS door for devices, beside the daemon."""

import argparse
import asyncio
import sys

from agent import log
from agent.clock import Clock, system_clock
from agent.config.address import split
from agent.config.load import load
from agent.errors import ConfigError
from agent.gateway.publish import Broker
from agent.gateway.server import HttpService
from agent.runtime.serve import serve

HELP = "the HTTPS door for devices; systemd runs it"


def add(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """0 after an orderly stop; 78 (EX_CONFIG) when a person must mend something first."""
    try:
        config = load(args.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 78
    if not config.gateway.listen:
        print(f'{args.config}: [gateway] listen: empty; say where, as in "0.0.0.0:8443"', file=sys.stderr)
        return 78
    log.configure(config.log.level)
    clock = system_clock()
    broker = Broker(config.mqtt.host, config.mqtt.port)
    service = HttpService(split(config.gateway.listen), broker, config.mqtt.broker_dir, clock)
    asyncio.run(_serve(service, clock))
    return 0


async def _serve(service: HttpService, clock: Clock) -> None:
    async def ready() -> None:
        await service.listening.wait()

    await serve([service], clock=clock, ready=ready)
