"""edge-central: serve until told to stop."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from central.handshakes import Capture
from central.home import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", default="127.0.0.1:8443", metavar="HOST:PORT", help="nodes and operators (mTLS)")
    parser.add_argument("--enrol-listen", default="127.0.0.1:8444", metavar="HOST:PORT", help="boxes with a token")
    parser.add_argument("--advertise", default="", metavar="HOST:PORT", help="what nodes dial, if not --listen")
    parser.add_argument("--heartbeat", type=int, default=5, metavar="SECONDS", help="asked of nodes, 1..300")


def serve(directory: Path, arguments: argparse.Namespace) -> int:
    """Exit code."""
    if not 1 <= arguments.heartbeat <= 300:
        sys.stderr.write("central: --heartbeat takes 1..300\n")
        return 2
    capture = Capture()
    from central import server  # noqa: PLC0415 - imports grpc, which must see what Capture has set

    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    options = server.Options(
        Home(directory), arguments.listen, arguments.enrol_listen, arguments.advertise, arguments.heartbeat
    )
    try:
        asyncio.run(server.serve(options, capture))
    except server.StartError as error:
        sys.stderr.write(f"central: {error}\n")
        return 1
    finally:
        capture.close()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser("edge-central", description="Reference control plane of the store edge agent.")
    parser.add_argument("--dir", required=True, type=Path, help="where edgectl init put the certificate authority")
    add_arguments(parser)
    arguments = parser.parse_args()
    return serve(arguments.dir, arguments)


if __name__ == "__main__":
    sys.exit(main())
