"""edgectl telemetry S/N [--name METRIC]: newest values of a node's hardware."""

import argparse

from central.cli import client, show
from storeedge.v1.operator_pb2 import QueryMetricsRequest


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="S/N")
    parser.add_argument("--name", default="", help="one metric, e.g. system.cpu.utilization")
    parser.add_argument("--points", type=int, default=1, help="newest of each series, 1..10000 (default 1)")


def run(arguments: argparse.Namespace) -> int:
    request = QueryMetricsRequest(node=client.node_ref(arguments.node), name=arguments.name, limit=arguments.points)
    with client.operator(arguments) as central:
        answer = central.QueryMetrics(request, timeout=client.TIMEOUT_SECONDS)
    if arguments.json:
        show.document(show.plain(answer))
        return 0
    show.table(
        f"{len(answer.series)} series, {answer.points} points stored",
        ("metric", "attributes", "#value", "unit", "time (UTC)"),
        (
            (
                series.name,
                " ".join(f"{key}={value}" for key, value in sorted(series.attributes.items())),
                f"{point.value:.12g}",
                series.unit,
                show.moment(point.time_unix_nano),
            )
            for series in answer.series
            for point in series.points
        ),
    )
    return 0
