"""The runner's dataclasses as JSON and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agent.jobs.budget import Spending
from agent.jobs.job import Job
from agent.jobs.metering import Meter, Reading
from agent.model import ChainLink, Event, JobState, UsageSample, UsageSeal
from agent.spec import JobKind, JobSpec, Limits, RestartMode, RestartPolicy

_Raw = Mapping[str, Any]


def job_to_json(job: Job) -> str:
    return _dump(asdict(job))


def job_from_json(text: str) -> Job:
    raw = _with(
        json.loads(text),
        spec=_spec,
        state=JobState,
        starts=tuple[float, ...],
        successor=_successor,
    )
    return Job(**raw)


def meter_to_json(meter: Meter) -> str:
    return _dump(asdict(meter))


def meter_from_json(text: str) -> Meter:
    return Meter(**_with(json.loads(text), last=_reading))


def spending_to_json(spending: Spending) -> str:
    return _dump(asdict(spending))


def spending_from_json(text: str) -> Spending:
    return Spending(**json.loads(text))


def body_to_json(body: Event | UsageSample | UsageSeal) -> str:
    if isinstance(body, UsageSample):
        return _dump({"usage": {**asdict(body), "chain_hash": body.chain_hash.hex()}})
    if isinstance(body, UsageSeal):
        heads = [(link.tenant, link.chain_index, link.chain_hash.hex()) for link in body.heads]
        return _dump({"seal": [heads, body.certificate_der.hex(), body.signature.hex()]})
    return _dump({"event": asdict(body)})


def body_from_json(text: str) -> Event | UsageSample | UsageSeal:
    raw = json.loads(text)
    if "usage" in raw:
        return UsageSample(**_with(raw["usage"], chain_hash=bytes.fromhex))
    if "seal" in raw:
        heads, certificate, signature = raw["seal"]
        links = tuple(ChainLink(tenant, index, bytes.fromhex(hash_)) for tenant, index, hash_ in heads)
        return UsageSeal(links, bytes.fromhex(certificate), bytes.fromhex(signature))
    return Event(**_with(raw["event"], state=_state))


def _spec(raw: _Raw) -> JobSpec:
    return JobSpec(**_with(raw, kind=JobKind, command=tuple[str, ...], limits=_limits, restart=_restart))


def _successor(raw: _Raw | None) -> JobSpec | None:
    return None if raw is None else _spec(raw)


def _state(word: str | None) -> JobState | None:
    return None if word is None else JobState(word)


def _reading(raw: _Raw) -> Reading:
    return Reading(**raw)


def _limits(raw: _Raw) -> Limits:
    return Limits(**raw)


def _restart(raw: _Raw) -> RestartPolicy:
    return RestartPolicy(**_with(raw, mode=RestartMode))


def _with(raw: _Raw, **convert: Any) -> dict[str, Any]:
    return {name: convert[name](value) if name in convert else value for name, value in raw.items()}


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
