"""Seals: whose they are. What tampering does to them is in test_ledger.py."""

from central.authority import der
from central.seals import Trusted
from storeedge.v1.record_pb2 import UsageSeal
from tests.fakes.authority import NODE_ID, Fleet
from tests.fakes.billing import Signer


def test_a_seal_of_the_node_itself_is_without_fault() -> None:
    fleet = Fleet()
    trusted = Trusted(fleet.authority.root, [fleet.authority.issuing.certificate])
    seal = Signer(fleet).seal({"acme": (1, bytes(32))})
    assert trusted.fault(seal, NODE_ID) is None
    assert trusted.of(NODE_ID)(seal) is None


def test_an_issuer_that_the_root_did_not_issue_counts_for_nothing() -> None:
    fleet, other = Fleet(), Fleet()
    seal = Signer(other).seal({"acme": (1, bytes(32))})
    assert Trusted(fleet.authority.root, [other.authority.issuing.certificate]).fault(seal, NODE_ID) is not None
    leaf = Signer(fleet)
    assert Trusted(fleet.authority.root, []).fault(leaf.seal({}), NODE_ID) == "its certificate is not from this CA"


def test_a_certificate_that_is_none_is_a_fault_and_no_crash() -> None:
    fleet = Fleet()
    trusted = Trusted(fleet.authority.root, [fleet.authority.issuing.certificate])
    for wrong in (b"", b"no DER", der(fleet.authority.root)):
        assert trusted.fault(UsageSeal(certificate_der=wrong), NODE_ID) is not None
