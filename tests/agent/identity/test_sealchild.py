"""agent/identity/sealchild.py: what can be said of it without a process of its own."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.identity import sealchild
from central.authority import key_pem


def test_a_key_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    key = tmp_path / "sealing.key"
    (tmp_path / ".sealing.key.new").write_bytes(b"half, from a power cut")
    public = sealchild.make(key)
    assert sealchild.public(sealchild.load(key)) == public
    assert [path.name for path in tmp_path.iterdir()] == ["sealing.key"]


def test_only_p256_is_taken(tmp_path: Path) -> None:
    key = tmp_path / "sealing.key"
    key.write_bytes(key_pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(ValueError, match="not a P-256 key"):
        sealchild.load(key)


def test_a_secret_is_bound_to_tenant_job_and_name() -> None:
    assert sealchild.info("acme", "shop", "DB") == b"storeedge-secret-v1\nacme\nshop\nDB"
