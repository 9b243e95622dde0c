import json

import pytest

from tests.sandbox.seccomp_diff import KNOWN_LOOSER, THEIRS, Allowed, looser, ours, report, theirs

needs_theirs = pytest.mark.skipif(not THEIRS.exists(), reason="containers-common is not installed")
PROFILE = {
    "syscalls": [
        {"names": ["read", "mount"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0}]},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["set_tls"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm"]}},
        {"names": ["s390_runtime_instr"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_AUDIT_WRITE"]}},
        {"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"},
    ]
}


def test_a_profile_is_read_as_a_process_without_capabilities_meets_it() -> None:
    assert theirs(PROFILE) == Allowed(frozenset({"read", "mount", "set_tls", "socket"}), frozenset({"personality"}))


def test_what_ours_alone_allows_is_found_and_named() -> None:
    mine = Allowed(frozenset({"read", "bpf", "personality"}), frozenset({"socket", "keyctl"}))
    assert looser(mine, theirs(PROFILE)) == {"bpf", "keyctl", "personality"}
    assert "NOT LOOKED AT (3): bpf keyctl personality" in report(mine, theirs(PROFILE))
    assert "refused by ours alone (2): mount set_tls" in report(mine, theirs(PROFILE))


@needs_theirs
def test_ours_is_nowhere_looser_than_the_distributions_but_where_it_was_looked_at() -> None:
    found = looser(ours(), theirs(json.loads(THEIRS.read_text())))
    assert found <= set(KNOWN_LOOSER)


@needs_theirs
@pytest.mark.parametrize(
    "name",
    [
        "mount", "umount2", "unshare", "setns", "clone3", "keyctl", "pidfd_getfd", "ptrace", "process_vm_readv",
        "process_vm_writev",
    ],
)  # fmt: skip
def test_what_the_distribution_allows_and_a_tenant_must_not_have_is_refused_by_ours(name: str) -> None:
    other = theirs(json.loads(THEIRS.read_text()))
    assert name in other.always
    assert name not in ours().always | ours().sometimes


@pytest.mark.parametrize("name", ["bpf", "io_uring_setup", "userfaultfd", "perf_event_open", "add_key", "request_key"])
def test_what_neither_allows_stays_so(name: str) -> None:
    assert name not in ours().always | ours().sometimes
