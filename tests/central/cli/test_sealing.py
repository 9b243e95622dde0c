"""Secrets on the operator's machine. That a node opens them is in tests/agent/identity/test_sealing.py."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from central.authority import key_pem, new_key
from central.cli.document_job import Source
from central.cli.errors import CliError
from central.cli.sealing import MAX_BYTES, digest_key, gather, seal
from central.desired import same
from storeedge.v1.desired_pb2 import Desired


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def desired() -> Desired:
    made = Desired()
    made.jobs.add(id="shop", tenant="acme")
    made.jobs.add(id="other", tenant="acme")
    return made


def test_a_secret_comes_from_a_file_beside_the_document_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "db.pw").write_bytes(b"hunter2\n")
    monkeypatch.setenv("TOKEN", "abc")
    found = gather({"shop": {"DB": Source(file="db.pw"), "T": Source(env="TOKEN")}}, tmp_path)
    assert found == {"shop": {"DB": b"hunter2\n", "T": b"abc"}}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (Source(file="none"), "job shop: secret DB: .*none: No such file"),
        (Source(env="NO_SUCH_VARIABLE"), "job shop: secret DB: the environment has no NO_SUCH_VARIABLE"),
        (Source(file="empty"), f"job shop: secret DB: 1..{MAX_BYTES} bytes, not 0"),
        (Source(file="big"), f"job shop: secret DB: 1..{MAX_BYTES} bytes, not {MAX_BYTES + 1}"),
    ],
)
def test_a_secret_that_cannot_be_had_is_named(tmp_path: Path, source: Source, said: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "big").write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(CliError, match=said):
        gather({"shop": {"DB": source}}, tmp_path)


def test_a_jobs_secrets_fit_a_request_to_the_launcher(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(MAX_BYTES))
    with pytest.raises(CliError, match="job shop: its secrets hold at most 31744 bytes together"):
        gather({"shop": {name: Source(file="big") for name in "ab"}}, tmp_path)


def test_what_goes_to_central_holds_no_plain_text_and_each_sealing_is_another() -> None:
    key, contents = public(new_key()), {"shop": {"DB": b"hunter2-hunter2"}}
    first, second = (seal(desired(), contents, "s/n", key, bytes(32)) for _ in range(2))
    assert b"hunter2" not in first.SerializeToString()
    assert first != second
    assert not first.jobs[1].secrets
    assert same(first.SerializeToString(), second.SerializeToString())
    changed = seal(desired(), {"shop": {"DB": b"hunter3"}}, "s/n", key, bytes(32))
    assert not same(first.SerializeToString(), changed.SerializeToString())
    assert not same(
        first.SerializeToString(), seal(desired(), contents, "s/n", public(new_key()), bytes(32)).SerializeToString()
    )


def test_digests_can_be_compared_only_by_the_operator_who_made_them() -> None:
    mine = key_pem(new_key())
    assert digest_key(mine) == digest_key(mine) != digest_key(key_pem(new_key()))


@pytest.mark.parametrize("wrong", [b"", b"no key", public(ec.generate_private_key(ec.SECP384R1()))])
def test_a_node_whose_key_is_none_is_named(wrong: bytes) -> None:
    with pytest.raises(CliError, match=r"^s/n: its sealing key is "):
        seal(desired(), {"shop": {"DB": b"x"}}, "s/n", wrong, bytes(32))
