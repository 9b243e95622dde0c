"""What may be desired, and when it is what was desired already."""

from collections.abc import Callable

import pytest

from central import bounds
from central.desired import check, same
from central.refusal import RefusedError
from storeedge.v1.desired_pb2 import (
    Desired,
    Egress,
    Health,
    JobSpec,
    Network,
    Publish,
    SealedSecret,
    Secret,
)


def good() -> Desired:
    desired = Desired()
    desired.tenants.add(id="acme")
    for name in ("one", "two"):
        job = desired.jobs.add(
            id=name, generation=1, tenant="acme", kind="JOB_KIND_SERVICE", image="host", command=["x"]
        )
        job.limits.cpu_milli, job.limits.memory_bytes = 100, 8 << 20
    assert bounds.violation(desired) is None
    return desired


def secret(digest: bytes = bytes(32), ciphertext: bytes = bytes(20), key_id: str = "0" * 16) -> Secret:
    return Secret(
        name="pw", digest=digest, sealed=[SealedSecret(key_id=key_id, ephemeral=bytes(65), ciphertext=ciphertext)]
    )


def test_a_good_one_passes() -> None:
    check(good())


BAD: list[tuple[str, Callable[[JobSpec], object]]] = [
    ("job two: tenant 'nobody' is not among", lambda j: setattr(j, "tenant", "nobody")),
    ("jobs: 'one' appears twice", lambda j: setattr(j, "id", "one")),
    ("job two: tmp_bytes is at most", lambda j: setattr(j.limits, "tmp_bytes", 9 << 20)),
    ("job two: health takes exactly one", lambda j: j.health.CopyFrom(Health())),
    ("job two: the image 'host' has no command", lambda j: j.ClearField("command")),
    ("job two: egress takes exactly one", lambda j: j.network.egress.append(Egress(port=1))),
    ("job two: egress takes an IPv4 network", lambda j: j.network.egress.append(Egress(port=1, cidr="10.0.0.1/8"))),
    ("job two: egress names the same twice", lambda j: j.network.egress.extend([Egress(port=1, name="a.b")] * 2)),
    (
        "job two: port 80/tcp is published by job two already",
        lambda j: j.network.publish.extend([Publish(port=80)] * 2),
    ),
    ("job two: the txt", lambda j: j.network.publish.append(Publish(port=80, txt={"a": "x" * 300, "b": "x" * 300}))),
    ("job two: secrets: no name twice", lambda j: j.secrets.extend([secret(), secret()])),
]


@pytest.mark.parametrize(("said", "change"), BAD)
def test_what_single_bounds_cannot_say_is_refused_by_name(said: str, change: Callable[[JobSpec], object]) -> None:
    desired = good()
    change(desired.jobs[1])
    with pytest.raises(RefusedError) as caught:
        check(desired)
    assert str(caught.value).startswith(said)


def test_a_port_of_the_node_belongs_to_one_job() -> None:
    desired = good()
    for job in desired.jobs:
        job.network.CopyFrom(Network(publish=[Publish(port=8443)]))
    with pytest.raises(RefusedError, match="job two: port 8443/tcp is published by job one already"):
        check(desired)


def test_a_secret_sealed_again_is_the_same_while_its_digest_and_its_node_are() -> None:
    def desiring(one: Secret) -> bytes:
        desired = good()
        desired.jobs[0].secrets.append(one)
        return desired.SerializeToString(deterministic=True)

    before = desiring(secret(ciphertext=bytes(20)))
    assert same(before, desiring(secret(ciphertext=b"x" * 20)))
    assert not same(before, desiring(secret(digest=b"x" * 32)))
    assert not same(before, desiring(secret(key_id="f" * 16)))
    nameless = desiring(secret(digest=b"", ciphertext=bytes(20)))
    assert not same(nameless, desiring(secret(digest=b"", ciphertext=b"x" * 20)))
