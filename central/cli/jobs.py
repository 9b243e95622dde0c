"""edgectl jobs [S/N]: jobs, as their events tell."""

import argparse

from rich.text import Text

from central.cli import client, show
from storeedge.v1.agent_pb2 import Job
from storeedge.v1.operator_pb2 import ListNodeJobsRequest, ListNodesRequest
from storeedge.v1.record_pb2 import JobState

_GOOD, _BAD = ("running", "finished", "healthy"), ("failed", "rejected", "lost", "unhealthy")
_COLUMNS = ("node", "job", "tenant", "#gen", "#run", "state", "health", "#exit", "started (UTC)", "reason", "message")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", nargs="?", default="", metavar="S/N")


def run(arguments: argparse.Namespace) -> int:
    with client.operator(arguments) as central:
        if arguments.node:
            nodes = [client.node_ref(arguments.node)]
        else:
            nodes = [n.ref for n in central.ListNodes(ListNodesRequest(), timeout=client.TIMEOUT_SECONDS).nodes]
        found = [
            (client.ref_text(node), job)
            for node in nodes
            for job in central.ListNodeJobs(ListNodeJobsRequest(node=node), timeout=client.TIMEOUT_SECONDS).jobs
        ]
    if arguments.json:
        show.document({"jobs": [{"node": node} | show.plain(job) for node, job in found]})
        return 0
    show.table(
        f"{len(found)} jobs",
        _COLUMNS,
        (
            (
                node,
                job.id,
                job.tenant,
                job.generation,
                job.attempt,
                _state(job),
                _health(job),
                job.exit_code if job.HasField("exit_code") else "",
                show.moment(job.started_unix_nano),
                job.reason,
                show.text(job.message.encode()),
            )
            for node, job in found
        ),
    )
    return 0


def _health(job: Job) -> Text:
    return _coloured(show.word(Job.Health.Name(job.health).removeprefix("HEALTH_")) if job.health else "")


def _state(job: Job) -> Text:
    return _coloured(show.word(JobState.Name(job.state).removeprefix("JOB_STATE_")))


def _coloured(word: str) -> Text:
    return Text(word, style="green" if word in _GOOD else "red" if word in _BAD else "yellow")
