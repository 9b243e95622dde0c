"""The runner's dataclasses as JSON and back. Bytes are hex. What an older agent wrote lacks what it didn't know."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from agent.jobs.budget import Spending
from agent.jobs.job import Job
from agent.jobs.metering import Meter, Reading
from agent.model import ChainLink, Event, Health, JobState, UsageSample, UsageSeal
from agent.spec import (
    Egress,
    HealthCheck,
    JobKind,
    JobSpec,
    Limits,
    MqttGrant,
    Network,
    Prices,
    Priority,
    Publish,
    RestartMode,
    RestartPolicy,
    SealedSecret,
    Secret,
)

_Raw = Mapping[str, Any]
_T = TypeVar("_T")


def job_to_json(job: Job) -> str:
    return _dump(asdict(job))


def job_from_json(text: str) -> Job:
    raw = _with(
        json.loads(text),
        spec=_spec,
        state=JobState,
        starts=tuple[float, ...],
        successor=_optional(_spec),
        health=Health,
        proven=_optional(_spec),
    )
    return Job(**raw)


def meter_to_json(meter: Meter) -> str:
    return _dump(asdict(meter))


def meter_from_json(text: str) -> Meter:
    return Meter(**_with(json.loads(text), last=_reading))


def spending_to_json(spending: Spending) -> str:
    return _dump(asdict(spending))


def spending_from_json(text: str) -> Spending:
    return Spending(**_with(json.loads(text), prices=_prices))


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
    known = {name: value for name, value in raw.items() if name != "mqtt_topics"}  # of earlier agents; opened nothing
    return JobSpec(
        **_with(
            known,
            kind=JobKind,
            command=tuple[str, ...],
            limits=_limits,
            restart=_restart,
            priority=Priority,
            network=_optional(_network),
            health=_optional(_health),
            secrets=_each(_secret),
            mqtt=_each(_grant),
        )
    )


def _network(raw: _Raw) -> Network:
    return Network(**_with(raw, egress=_each(lambda one: Egress(**one)), publish=_each(lambda one: Publish(**one))))


def _health(raw: _Raw) -> HealthCheck:
    return HealthCheck(**_with(raw, command=tuple[str, ...]))


def _secret(raw: _Raw) -> Secret:
    return Secret(**_with(raw, sealed=_each(_sealed)))


def _sealed(raw: _Raw) -> SealedSecret:
    return SealedSecret(**_with(raw, ephemeral=bytes.fromhex, ciphertext=bytes.fromhex))


def _grant(raw: _Raw) -> MqttGrant:
    return MqttGrant(**_with(raw, commands=tuple[str, ...]))


def _prices(raw: _Raw) -> Prices:
    return Prices(**raw)


def _optional(read: Callable[[Any], _T]) -> Callable[[Any], _T | None]:
    return lambda raw: None if raw is None else read(raw)


def _each(read: Callable[[Any], _T]) -> Callable[[Iterable[Any]], tuple[_T, ...]]:
    return lambda raws: tuple(read(raw) for raw in raws)


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
    return json.dumps(value, separators=(",", ":"), default=bytes.hex)
