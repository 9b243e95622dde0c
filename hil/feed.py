"""What central has of a node, read on as it comes: cheap enough to be asked twice a second beside a board."""

import argparse
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from central.cli import client
from central.cli.errors import CliError
from hil.central import Central
from storeedge.v1.operator_pb2 import ListNodesRequest, QueryRecordsRequest, StoredRecord
from storeedge.v1.operator_pb2_grpc import OperatorStub
from storeedge.v1.record_pb2 import JobState
from storeedge.v1.types_pb2 import RECORD_CLASS_DEVICE, RECORD_CLASS_EVENT, RecordClass

_PAGE = 1000
_EVERY_SECONDS = 0.5
JOB_EVENT = "job.state"


@dataclass(frozen=True, slots=True)
class Run:
    """A state that a job entered, as its event says."""

    job: str
    generation: int
    attempt: int
    state: str  # "RUNNING"
    exit_code: int | None
    received: float  # at central, seconds since 1970


class Feed:
    """A thread of its own between `start` and `stop`. While central is away nothing changes but `connected`."""

    def __init__(self, central: Central, node: str) -> None:
        self._arguments = argparse.Namespace(dir=central.home, central=central.control)
        self._node = client.node_ref(node)
        self._last = {RECORD_CLASS_DEVICE: 0, RECORD_CLASS_EVENT: 0}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.connected = False
        self.messages: Counter[tuple[str, int]] = Counter()
        """(device, number) and how many times central has it."""
        self.first_recorded: dict[str, float] = {}
        """By boot id: when the board says that it recorded its first device message."""
        self.gaps = 0
        self.runs: list[Run] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def newest(self, job: str) -> Run | None:
        return next((run for run in reversed(self.runs) if run.job == job), None)

    def _follow(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            try:
                self._read()
            except CliError:
                self.connected = False

    def _read(self) -> None:
        with client.operator(self._arguments) as central:
            nodes = central.ListNodes(ListNodesRequest(), timeout=client.TIMEOUT_SECONDS).nodes
            self.connected = any(node.ref == self._node and node.connected for node in nodes)
            for record_class in self._last:
                for stored in self._fresh(central, record_class):
                    self._note(stored)

    def _fresh(self, central: OperatorStub, record_class: RecordClass) -> Iterator[StoredRecord]:
        while True:
            request = QueryRecordsRequest(
                node=self._node, record_class=record_class, after_id=self._last[record_class], limit=_PAGE
            )
            page = central.QueryRecords(request, timeout=client.TIMEOUT_SECONDS).records
            if not page:
                return
            for stored in page:
                self._last[record_class] = stored.id
                yield stored

    def _note(self, stored: StoredRecord) -> None:
        record = stored.record
        kind = record.WhichOneof("body")
        if kind == "device" and record.device.payload.isdigit():
            self.messages[record.device.device, int(record.device.payload)] += 1
            self.first_recorded.setdefault(record.boot_id, record.time_unix_nano / 1e9)
        elif kind == "gap":
            self.gaps += 1
        elif kind == "event" and record.event.kind == JOB_EVENT:
            event = record.event
            code = event.exit_code if event.HasField("exit_code") else None
            state = JobState.Name(event.state).removeprefix("JOB_STATE_")
            self.runs.append(
                Run(event.job, event.generation, event.attempt, state, code, stored.received_unix_nano / 1e9)
            )
