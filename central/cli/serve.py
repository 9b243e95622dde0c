"""edgectl serve: the same as edge-central."""

import argparse

from central.__main__ import add_arguments, serve


def add(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    return serve(arguments.dir, arguments)
