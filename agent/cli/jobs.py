"""edge-agent jobs: what runs here."""

import argparse

from agent.cli.local import TIMEOUT_SECONDS, Local, document, moment, table
from storeedge.v1 import agent_pb2, record_pb2

HELP = "the tenants' jobs and their states"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    with Local(args) as agent:
        reply = agent.ListJobs(agent_pb2.ListJobsRequest(), timeout=TIMEOUT_SECONDS)
    if args.json:
        document(reply)
        return 0
    table(
        ("JOB", "TENANT", "GEN", "STATE", "HEALTH", "REASON", "RUN", "EXIT", "PID", "SINCE", "MESSAGE"),
        [
            (
                job.id,
                job.tenant,
                job.generation,
                record_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower().replace("_", "-"),
                agent_pb2.Job.Health.Name(job.health).removeprefix("HEALTH_").lower() if job.health else "-",
                job.reason or "-",
                job.attempt,
                job.exit_code if job.HasField("exit_code") else "-",
                job.pid or "-",
                moment(job.ended_unix_nano or job.started_unix_nano),
                job.message or "-",
            )
            for job in reply.jobs
        ],
    )
    return 0
