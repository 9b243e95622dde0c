from typing import Any

import pytest

from agent.launcher import seccomp

RAW = seccomp.read()
CLONE_NEW = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000  # linux/sched.h
_REFUSED = """
mount umount umount2 move_mount open_tree fsopen fsmount fsconfig mount_setattr pivot_root chroot unshare
setns clone3 keyctl add_key request_key bpf io_uring_setup io_uring_enter io_uring_register userfaultfd ptrace
process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd perf_event_open open_by_handle_at
name_to_handle_at vmsplice init_module finit_module delete_module kexec_load kexec_file_load reboot swapon
swapoff quotactl syslog settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname iopl
ioperm modify_ldt acct fanotify_init lookup_dcookie mbind move_pages migrate_pages set_mempolicy nfsservctl
vhangup ustat uselib sysfs inotify_init inotify_init1 io_setup sync syncfs
""".split()  # noqa: SIM905 sixty words are easier to read so


def test_everything_is_refused_unless_it_is_named() -> None:
    section = seccomp.section(RAW, "x86_64")
    assert (section["defaultAction"], section["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert section["architectures"] == ["SCMP_ARCH_X86_64"]
    with pytest.raises(KeyError):
        seccomp.section(RAW, "s390x")


@pytest.mark.parametrize(
    "name",
    _REFUSED,
)
def test_a_job_cannot_call(name: str) -> None:
    section = seccomp.section(RAW, "x86_64")
    assert not any(name in rule["names"] for rule in section["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW")


def test_clone_makes_no_namespace_and_clone3_is_absent() -> None:
    rules = {rule["names"][0]: rule for rule in seccomp.section(RAW, "aarch64")["syscalls"]}
    assert rules["clone"]["args"] == [{"index": 0, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    assert (rules["clone3"]["action"], rules["clone3"]["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_sockets_are_of_four_families_and_netlink_only_of_routes() -> None:
    rules = [rule for rule in seccomp.section(RAW, "x86_64")["syscalls"] if rule["names"] == ["socket"]]
    assert {rule["args"][0]["value"] for rule in rules} == {1, 2, 10, 16}
    netlink = next(rule for rule in rules if rule["args"][0]["value"] == 16)
    assert netlink["args"][1] == {"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}
    assert not any("socket" in group["names"] for group in RAW["allow"])


def test_an_internet_socket_is_of_tcp_or_udp_alone() -> None:
    """Another protocol's number makes the kernel load its module, or reach code that nobody needs here."""
    rules = [rule for rule in seccomp.section(RAW, "x86_64")["syscalls"] if rule["names"] == ["socket"]]
    for family in (2, 10):
        found = [rule["args"][1:] for rule in rules if rule["args"][0]["value"] == family]
        assert found == [[{"index": 2, "value": number, "op": "SCMP_CMP_EQ"}] for number in (0, 6, 17)]


def allows(name: str, *words: int) -> bool:
    """As libseccomp reads the rules."""

    def passes(arg: dict[str, Any]) -> bool:
        word = words[arg["index"]]
        if arg["op"] == "SCMP_CMP_EQ":
            return bool(word == arg["value"])
        assert arg["op"] == "SCMP_CMP_MASKED_EQ"
        return bool(word & arg["value"] == arg["valueTwo"])

    rules = [rule for rule in seccomp.section(RAW, "x86_64")["syscalls"] if name in rule["names"]]
    return any(all(map(passes, rule.get("args", []))) for rule in rules if rule["action"] == "SCMP_ACT_ALLOW")


@pytest.mark.parametrize("upper_half", [0, 1 << 32, (1 << 64) - (1 << 32)])
def test_a_job_sets_every_limit_but_that_of_core_dumps(upper_half: int) -> None:
    """Lowered from 1 to 0 it would dump into systemd-coredump again. The kernel looks at the lower half alone."""
    for number in range(16):
        limit, new = upper_half | number, 0x7FFF0000
        assert allows("setrlimit", limit, new) == allows("prlimit64", 0, limit, new) == (number != 4)
        assert allows("prlimit64", 0, limit, 0)


def test_no_name_stands_in_two_groups() -> None:
    names = [name for group in RAW["allow"] for name in group["names"]]
    assert len(names) == len(set(names))
