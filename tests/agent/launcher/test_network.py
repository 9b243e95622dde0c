from dataclasses import replace
from pathlib import Path

import pytest

from agent.launcher import network
from agent.launcher.firewall import Link
from agent.launcher.layout import Host, Places, Tree
from agent.launcher.operation import MakeDirectory, Plan, Run, Unmount, WriteFile
from agent.launcher.protocol import HostFacts, NetworkRequest, Reach

HOST = Host(
    facts=HostFacts("crun", "1", "v2", memory_controller=True, cpus=1, memory_bytes=1, boot_id="boot"),
    machine="x86_64", runtime=Path("/usr/bin/crun"), conmon=Path("/usr/bin/conmon"), init=Path("/usr/bin/catatonit"),
    tree=Tree("v2", "/system.slice/edge-jobs.service", ()), places=Places(Path("/state"), Path("/run/l")), etc=(),
    netns=Path("/proc/1/ns/net"), network="10.222.0.0/16", router=False, ipv6=True,
)  # fmt: skip


def link(slot: int = 5, job: str = "till", tenant: str = "acme", **network_: object) -> Link:
    request = NetworkRequest(**network_)  # type: ignore[arg-type]  # the test's own keywords
    return Link(f"{tenant}.{job}.{slot}", tenant, job, slot, 7, request)


def runs(plan: Plan) -> list[Run]:
    return [step for step in plan if isinstance(step, Run)]


def test_a_network_is_made_of_few_commands_each_with_its_input() -> None:
    """The order matters: rules before there is a link to have them, the namespace before its other end."""
    steps = runs(network.create(link(bits_per_second=8_000_000), HOST))
    home = ("/usr/bin/nsenter", "--net=/proc/1/ns/net", "--")
    inside = "--net=/run/l/netns/acme.till.5"
    rate = ("root", "tbf", "rate", "8000000bit", "burst", "16384b", "latency", "50ms")
    assert [step.argv for step in steps] == [
        (*home, "nft", "-f", "-"),
        ("/usr/bin/unshare", inside, "--", "ip", "-batch", "-"),
        ("/usr/bin/nsenter", inside, "--", "tc", "qdisc", "add", "dev", "eth0", *rate),
        (*home, "ip", "-batch", "-"),
        (*home, "tc", "qdisc", "add", "dev", "ej-5", *rate),
        (*home, "sysctl", "-qw", "net.ipv4.ip_forward=1"),
    ]
    assert steps[1].stdin == (
        "link add eth0 type veth peer name ej-5 netns /proc/1/ns/net\nlink set lo up\nlink set eth0 addrgenmode none\n"
        "addr add 10.222.0.22/30 dev eth0\nlink set eth0 up\nroute add default via 10.222.0.21\n"
    )
    assert steps[3].stdin == "link set ej-5 addrgenmode none\naddr add 10.222.0.21/30 dev ej-5\nlink set ej-5 up\n"
    assert not any(step.may_fail for step in steps)


def test_a_router_is_left_as_it_is() -> None:
    router = replace(HOST, router=True)
    for plan in (network.create(link(), router), network.forget(router)):
        assert not any("sysctl" in step.argv for step in runs(plan))
    for plan in (network.prepare((), router), network.create(link(), router)):
        assert 'ej*" drop' not in runs(plan)[0].stdin


def test_what_others_forward_is_stopped_only_once_we_switch_forwarding_on() -> None:
    """Before the first run with a network, whoever makes this machine a router is not in our way, nor we in his."""
    assert 'oifname != "ej*" drop' not in runs(network.prepare((), HOST))[0].stdin
    assert 'oifname != "ej*" drop' in runs(network.create(link(), HOST))[0].stdin
    assert 'oifname != "ej*" drop' in runs(network.prepare((), replace(HOST, forwarding=True)))[0].stdin


def test_forwarding_is_marked_before_it_is_switched_on() -> None:
    plan = network.create(link(), HOST)
    marked = plan.index(WriteFile(Path("/run/l/forwarding"), "", 0o600))
    assert "sysctl" in next(step for step in plan[marked:] if isinstance(step, Run)).argv


def test_a_kernel_without_ipv6_is_not_asked_about_it() -> None:
    text = "".join(step.stdin for step in runs(network.create(link(), replace(HOST, ipv6=False))))
    assert "addrgenmode" not in text


def test_the_way_back_may_find_nothing() -> None:
    plan = network.destroy(link(), HOST)
    assert all(step.may_fail for step in runs(plan))
    assert Unmount(Path("/run/l/netns/acme.till.5")) in plan
    assert all(step.may_fail for step in runs(network.forget(HOST)))


def test_the_directories_are_there_first() -> None:
    plan = network.prepare((link(),), HOST)
    assert plan[:2] == (MakeDirectory(Path("/run/l/netns"), 0o700), MakeDirectory(Path("/run/l/hosts"), 0o711))
    assert "near_5" in runs(plan)[0].stdin


def test_a_burst_is_ten_milliseconds_of_a_fast_link() -> None:
    steps = runs(network.create(link(bits_per_second=1_000_000_000), HOST))
    assert "1250000b" in steps[2].argv


def test_names_are_of_the_run_its_peers_and_what_was_resolved() -> None:
    me = link(peers=True, reach=Reach(hosts={"api.example": ("192.0.2.1", "192.0.2.2")}))
    others = (me, link(6, "stock", peers=True), link(7, "shy"), link(8, "spy", "rival", peers=True))
    assert network.hosts_text(me, others, HOST) == (
        "127.0.0.1 localhost\n10.222.0.22 till job\n10.222.0.26 stock\n192.0.2.1 api.example\n192.0.2.2 api.example\n"
    )
    assert "stock" not in network.hosts_text(link(), others, HOST)


def test_names_are_written_in_place_and_for_every_peer() -> None:
    links = (link(1, "a", peers=True), link(2, "b", peers=True), link(3, "c"))
    files = [step for step in network.peers(links, HOST) if isinstance(step, WriteFile)]
    assert [step.path.name for step in files] == ["acme.a.1", "acme.b.2"]
    for plan in (network.reach(links[0], links, HOST), network.create(links[0], HOST), network.peers(links, HOST)):
        mine = next(step for step in plan if isinstance(step, WriteFile) and step.path == Path("/run/l/hosts/acme.a.1"))
        assert mine.in_place


def test_without_a_namespace_for_its_other_end_there_is_no_plan() -> None:
    with pytest.raises(ValueError, match="names the network namespace"):
        network.create(link(), replace(HOST, netns=None))
