"""The network of a run, step by step: a namespace, a veth pair, addresses, rates, rules. Pure; `execute` does it.

A run's namespace belongs to the host's user namespace: whatever the job becomes in its own, it can't touch a link, an
address or a rate. The host's side lives in `host.netns`, where the launcher itself need not be.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.launcher import firewall
from agent.launcher.firewall import Link
from agent.launcher.layout import Host, Places
from agent.launcher.operation import MakeDirectory, Plan, Run, Unmount, WriteFile

_NSENTER, _UNSHARE, _RM = "/usr/bin/nsenter", "/usr/bin/unshare", "/usr/bin/rm"  # Debian's util-linux and coreutils
_LEAST_BURST_BYTES = 16 * 1024
_BURST_SECONDS = 0.01


def netns(places: Places, run: str) -> Path:
    """What config.json names as the run's network namespace: a mount, only seen by the launcher that made it."""
    return places.run_dir / "netns" / run


def hosts_file(places: Places, run: str) -> Path:
    """What a networked run sees as its /etc/hosts. Written in place, for it is mounted."""
    return places.run_dir / "hosts" / run


def marker(places: Places) -> Path:
    """There since we made this machine forward packets: it was no router before. Gone after a reboot, as that is."""
    return places.run_dir / "forwarding"


def names(host: Host) -> firewall.Names:
    return firewall.names(host.tree.parent, host.network)


def prepare(links: Sequence[Link], host: Host) -> Plan:
    """At the launcher's start: the rules anew, for exactly those runs. Open connections of theirs go on."""
    return (
        MakeDirectory(host.places.run_dir / "netns", 0o700),
        MakeDirectory(host.places.run_dir / "hosts", 0o711),
        _rules(firewall.table(names(host), links, guard=host.forwarding), host, "the rules of runs' networks"),
    )


def create(link: Link, host: Host) -> Plan:
    """Before the monitor starts. What is left when it fails is for `destroy`. Peers learn of it by `peers`."""
    here, inside = names(host), netns(host.places, link.run)
    interface = here.interface(link.slot)
    return (
        WriteFile(hosts_file(host.places, link.run), hosts_text(link, (), host), 0o644, in_place=True),
        WriteFile(inside, "", 0o600),  # what the namespace is mounted on
        _rules(firewall.guarded(here) * (not host.router) + firewall.add(here, link), host, "rules"),
        Run(
            (_UNSHARE, f"--net={inside}", "--", "ip", "-batch", "-"),
            _lines(
                f"link add eth0 type veth peer name {interface} netns {_home(host)}",
                "link set lo up",
                *_quiet("eth0", host),
                f"addr add {here.address(link.slot)}/30 dev eth0",
                "link set eth0 up",
                f"route add default via {here.gateway(link.slot)}",
            ),
            "a network namespace, its link to ours",
        ),
        Run(
            (_NSENTER, f"--net={inside}", "--", "tc", "qdisc", "add", "dev", "eth0", *_rate(link)),
            why="what it sends",
        ),
        _at_home(("ip", "-batch", "-"), host, "our end of the link", *_our_end(link, host)),
        _at_home(("tc", "qdisc", "add", "dev", interface, *_rate(link)), host, "what it receives"),
        *_forward(host),
    )


def destroy(link: Link, host: Host) -> Plan:
    """At any time after `create` was begun, as often as one likes."""
    here = names(host)
    files = (netns(host.places, link.run), hosts_file(host.places, link.run))
    return (
        _at_home(("ip", "link", "delete", here.interface(link.slot)), host, "the link", may_fail=True),
        _rules(firewall.remove(here, link), host, "its rules", may_fail=True),
        Unmount(files[0]),
        Run((_RM, "-f", *map(str, files)), why="its files", may_fail=True),
    )


def reach(link: Link, links: Sequence[Link], host: Host) -> Plan:
    """`link` with its new reach; `links` are all that live."""
    return (
        _rules(firewall.reach(names(host), link), host, "what it reaches"),
        _hosts(link, links, host),
    )


def peers(links: Sequence[Link], host: Host) -> Plan:
    """Whenever a run that asks for peers has come or gone; `links` are all that live now."""
    asking = [link for link in links if link.network.peers]
    return (
        _rules(firewall.peers(names(host), asking), host, "who may talk with whom"),
        *(_hosts(link, asking, host) for link in asking),
    )


def forget(host: Host) -> Plan:
    """When no run is left and the launcher is taken away."""
    stop = _at_home(("sysctl", "-qw", "net.ipv4.ip_forward=0"), host, "no longer forward packets", may_fail=True)
    table = f"delete table inet {names(host).table}\n"
    return (_rules(table, host, "the rules of runs' networks", may_fail=True), *(() if host.router else (stop,)))


def hosts_text(link: Link, links: Iterable[Link], host: Host) -> str:
    """The run itself, its peers by their job's name, then what the agent resolved; the first line of a name wins."""
    here = names(host)
    lines = ["127.0.0.1 localhost", f"{here.address(link.slot)} {link.job} job"]
    if link.network.peers:
        lines += [
            f"{here.address(other.slot)} {other.job}"
            for other in sorted(links, key=lambda other: other.slot)
            if other.network.peers and other.tenant == link.tenant and other.run != link.run
        ]
    for name, addresses in sorted(link.network.reach.hosts.items()):
        lines += [f"{address} {name}" for address in addresses]
    return _lines(*lines)


def _hosts(link: Link, links: Iterable[Link], host: Host) -> WriteFile:
    return WriteFile(hosts_file(host.places, link.run), hosts_text(link, links, host), 0o644, in_place=True)


def _our_end(link: Link, host: Host) -> tuple[str, ...]:
    here = names(host)
    interface = here.interface(link.slot)
    return (
        *_quiet(interface, host),
        f"addr add {here.gateway(link.slot)}/30 dev {interface}",
        f"link set {interface} up",
    )


def _quiet(interface: str, host: Host) -> tuple[str, ...]:
    """No IPv6 address by itself: nothing of it is ever sent, so nothing of it is billed."""
    return (f"link set {interface} addrgenmode none",) if host.ipv6 else ()


def _rate(link: Link) -> tuple[str, ...]:
    """Tc(8)'s token bucket. Bursts of 10 ms, or of a few packets; 50 ms of queue, then packets are dropped."""
    bits = link.network.bits_per_second
    burst = max(_LEAST_BURST_BYTES, int(bits / 8 * _BURST_SECONDS))
    return ("root", "tbf", "rate", f"{bits}bit", "burst", f"{burst}b", "latency", "50ms")


def _forward(host: Host) -> Plan:
    """A machine that is no router becomes one for runs alone: from now on the table's guard drops what isn't theirs."""
    if host.router:
        return ()
    return (
        WriteFile(marker(host.places), "", 0o600),
        _at_home(("sysctl", "-qw", "net.ipv4.ip_forward=1"), host, "forward packets"),
    )


def _rules(script: str, host: Host, why: str, *, may_fail: bool = False) -> Run:
    return Run((*_enter(host), "nft", "-f", "-"), script, why, may_fail)


def _at_home(argv: tuple[str, ...], host: Host, why: str, *lines: str, may_fail: bool = False) -> Run:
    return Run((*_enter(host), *argv), _lines(*lines), why, may_fail)


def _enter(host: Host) -> tuple[str, ...]:
    return (_NSENTER, f"--net={_home(host)}", "--")


def _home(host: Host) -> Path:
    if host.netns is None:
        raise ValueError("a host whose runs have networks names the network namespace of its own side")
    return host.netns


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)
