"""The nftables table of runs' networks, as scripts for `nft -f -`, each one atomic change. Pure.

One table, whatever the number of runs: a packet finds its run by the name of the interface, in maps. From a run it is
judged in prerouting, before DNAT and before routing, so that nothing of the host is reached either; towards a run when
it is forwarded. The host itself sends nothing to runs. A port on which it listens stays its own, whoever publishes it.

An open connection carries in its ct mark whose it is. Its packets pass for that run only: a slot, its interface and its
address go to the next run, of anybody, while the kernel remembers connections for days. (By mark, not by state: UDP
that nobody answers stays "new" for ever.) Between runs every packet is judged anew, at the end of the one that was
called. The first rule of each direction is the way of nearly all packets, and the only one that costs.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.launcher.layout import SLOTS
from agent.launcher.protocol import Destination, NetworkRequest
from agent.launcher.reach import octets

# A new connection costs memory of the host's for as long as it is remembered.
NEW_CONNECTIONS_PER_SECOND = 100
NEW_CONNECTIONS_BURST = 200
OPEN_CONNECTIONS = 1024  # each way: begun by the run, and to its published ports

# What begins the name of every run's interface: one launcher's guard lets another's runs pass.
_EVERY_LAUNCHERS = "ej"
# What no run ever reaches: this network, loopback, link-local (metadata services), multicast, reserved, broadcast.
_NEVER = "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3"
# Reached only by an entry that lies inside one of them: RFC 1918, and RFC 6598 (carriers' and VPNs').
PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")


@dataclass(frozen=True, slots=True)
class Names:
    """What is called how. Two launchers of one machine, told apart by `table`, never share an interface's name."""

    table: str
    prefix: str  # of interfaces; no prefix begins another
    network: str  # of all runs, "10.222.0.0/16"

    def interface(self, slot: int) -> str:
        """The host's end of a run's veth pair; at most 15 characters (IFNAMSIZ)."""
        return f"{self.prefix}{slot}"

    def gateway(self, slot: int) -> str:
        return self._address(slot, 1)

    def address(self, slot: int) -> str:
        """The run's own; each slot has 4 addresses, a /30."""
        return self._address(slot, 2)

    def _address(self, slot: int, number: int) -> str:
        if not 0 <= slot < SLOTS:
            raise ValueError(f"slot {slot}: 0..{SLOTS - 1}")
        first, length = _network(self.network)
        if 4 * slot + number >= 1 << (32 - length):
            raise ValueError(f"{self.network} has no room for slot {slot}")
        return _dotted(first + 4 * slot + number)


@dataclass(frozen=True, slots=True)
class Link:
    """The network half of a run: what the rules must know of it, as long as the run is there."""

    run: str
    tenant: str
    job: str
    slot: int
    mark: int  # of its connections, 1..2^32-1: random, so that the slot's next run has another one
    network: NetworkRequest


def names(cgroup: str, network: str) -> Names:
    """`cgroup` is the runs' own, where they are apart from another launcher's: its name makes the table's."""
    if cgroup.rpartition("/")[2].removesuffix(".service") == "edge-jobs":
        return Names("edge_jobs", f"{_EVERY_LAUNCHERS}-", network)
    short = f"{zlib.crc32(cgroup.encode()):08x}"
    return Names(f"edge_jobs_{short}", f"{_EVERY_LAUNCHERS}{short}-", network)


def table(here: Names, links: Sequence[Link], *, guard: bool) -> str:
    """The whole table anew, with `links` and nothing of runs that are gone.

    `guard`: as `guarded`.
    """
    any_run, refuse = f'"{here.prefix}*"', "counter name refused drop"
    base = f"""add table inet {here.table}
delete table inet {here.table}
table inet {here.table} {{
  counter refused {{ }}
  map outward {{ type ifname : verdict; }}
  map inward {{ type ifname : verdict; }}
  map published {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map groups {{ type ifname : mark; }}
  set members {{ type ipv4_addr . mark; }}
  set sources {{ type ifname . ipv4_addr; }}
  set open {{ type ifname . ipv4_addr . mark; }}
  set cut {{ type ifname; }}
  set never {{ type ipv4_addr; flags interval; elements = {{ {_NEVER} }}; }}
  set private {{ type ipv4_addr; flags interval; elements = {{ {", ".join(PRIVATE)} }}; }}
  chain from_run {{
    ct state established iifname . ip saddr . ct mark @open accept
    meta nfproto != ipv4 {refuse}
    iifname . ip saddr != @sources {refuse}
    ip hdrlength > 5 {refuse}
    iifname @cut {refuse}
    ip daddr {here.network} goto to_neighbour
    ct state related meta l4proto != icmp {refuse}
    iifname . ip saddr . ct mark @open accept
    ct state != new {refuse}
    fib daddr type {{ local, broadcast, anycast, multicast }} {refuse}
    ip daddr @never {refuse}
    iifname vmap @outward
    {refuse}
  }}
  chain to_neighbour {{
    meta mark set iifname map @groups
    ip daddr . meta mark @members goto to_peer
    meta mark set 0
    {refuse}
  }}
  chain to_peer {{
    meta mark set 0
    ct state new iifname vmap @outward
    ct state established accept
    ct state related meta l4proto icmp accept
    {refuse}
  }}
  chain to_run {{
    ct state established oifname . ip daddr . ct mark @open accept
    meta nfproto != ipv4 {refuse}
    oifname @cut {refuse}
    ip saddr {here.network} goto from_neighbour
    ct state related meta l4proto != icmp {refuse}
    oifname . ip daddr . ct mark @open accept
    ct state new ct status dnat oifname vmap @inward
    {refuse}
  }}
  chain from_neighbour {{
    iifname != {any_run} {refuse}
    meta mark set oifname map @groups
    ip saddr . meta mark @members goto from_peer
    meta mark set 0
    {refuse}
  }}
  chain from_peer {{
    meta mark set 0
    accept
  }}
  chain arriving {{
    type filter hook prerouting priority mangle; policy accept;
    iifname {any_run} goto from_run
  }}
  chain host {{
    type filter hook input priority filter; policy accept;
    iifname {any_run} {refuse}
    iifname != "lo" ip saddr {here.network} {refuse}
    iifname != "lo" ip daddr {here.network} {refuse}
  }}
  chain passing {{
    type filter hook forward priority filter; policy accept;
    oifname {any_run} goto to_run
  }}
  chain sending {{
    type filter hook output priority filter; policy accept;
    oifname {any_run} icmp type {{ destination-unreachable, time-exceeded }} accept
    oifname {any_run} {refuse}
  }}
  chain publish {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname {any_run} accept
    socket wildcard {{ 0, 1 }} accept
    fib daddr type local dnat ip to meta l4proto . th dport map @published
  }}
  chain masquerading {{
    type nat hook postrouting priority srcnat; policy accept;
    iifname {any_run} oifname != {any_run} masquerade
  }}
}}
"""
    return base + guarded(here) * guard + "".join(add(here, link) for link in links) + peers(here, links)


def guarded(here: Names) -> str:
    """Forwarding was off before us: what is neither from nor to a run stays as unforwarded as it was.

    The same however often it is said.
    """
    ours = f'"{_EVERY_LAUNCHERS}*"'
    return f"""table inet {here.table} {{
  chain guard {{
    type filter hook forward priority filter; policy accept;
  }}
}}
flush chain inet {here.table} guard
add rule inet {here.table} guard iifname != {ours} oifname != {ours} drop
"""


def add(here: Names, link: Link) -> str:
    """A run that the table doesn't know yet."""
    slot, interface = link.slot, here.interface(link.slot)
    refuse = "counter name refused drop"
    entry = "type ipv4_addr . inet_proto . inet_service; flags interval;"
    elements = [
        ("sources", f'"{interface}" . {here.address(slot)}'),
        ("outward", f'"{interface}" : goto outward_{slot}'),
        ("inward", f'"{interface}" : goto inward_{slot}'),
        *(
            ("published", f"{one.protocol} . {one.port} : {here.address(slot)} . {one.job_port}")
            for one in link.network.publish
        ),
    ]
    return f"""table inet {here.table} {{
  set near_{slot} {{ {entry} }}
  set far_{slot} {{ {entry} }}
  chain begin_{slot} {{
    limit rate over {NEW_CONNECTIONS_PER_SECOND}/second burst {NEW_CONNECTIONS_BURST} packets {refuse}
    ct count over {OPEN_CONNECTIONS} {refuse}
    ct mark set {link.mark:#x}
    accept
  }}
  chain outward_{slot} {{
    ip daddr {here.network} goto begin_{slot}
    ip daddr . meta l4proto . th dport @near_{slot} goto begin_{slot}
    ip daddr @private {refuse}
    ip daddr . meta l4proto . th dport @far_{slot} goto begin_{slot}
    {refuse}
  }}
  chain inward_{slot} {{
    ct count over {OPEN_CONNECTIONS} {refuse}
    ct mark set {link.mark:#x}
    accept
  }}
}}
""" + _elements(here, "add", elements) + _reached(here, link)  # fmt: skip


def remove(here: Names, link: Link) -> str:
    """All that `add` made. Fails, and changes nothing, when the table doesn't know the run."""
    slot, interface = link.slot, here.interface(link.slot)
    elements = [
        ("sources", f'"{interface}" . {here.address(slot)}'),
        ("outward", f'"{interface}"'),
        ("inward", f'"{interface}"'),
        *(("published", f"{one.protocol} . {one.port}") for one in link.network.publish),
    ]
    chains = (f"delete chain inet {here.table} {kind}_{slot}\n" for kind in ("outward", "inward", "begin"))
    sets = (f"delete set inet {here.table} {kind}_{slot}\n" for kind in ("near", "far"))
    return _elements(here, "delete", elements) + _neither(here, link) + "".join((*chains, *sets))


def reach(here: Names, link: Link) -> str:
    """`link.network.reach` instead of what the run could reach until now; open connections stay, unless all is cut."""
    flush = "".join(f"flush set inet {here.table} {kind}_{link.slot}\n" for kind in ("near", "far"))
    return flush + _neither(here, link) + _reached(here, link)


def peers(here: Names, links: Iterable[Link]) -> str:
    """Who of `links` may talk with whom, instead of who could. A group is known by the lowest slot in it."""
    asking = sorted((link for link in links if link.network.peers), key=lambda link: link.slot)
    groups: dict[str, int] = {}
    for link in asking:
        groups.setdefault(link.tenant, link.slot + 1)
    elements = [
        *(("groups", f'"{here.interface(link.slot)}" : {groups[link.tenant]}') for link in asking),
        *(("members", f"{here.address(link.slot)} . {groups[link.tenant]}") for link in asking),
    ]
    return (
        f"flush map inet {here.table} groups\nflush set inet {here.table} members\n"
        + _elements(here, "add", elements)
    )  # fmt: skip


def split(destinations: Iterable[Destination]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As elements of sets: (those inside a private range, the others), none of them inside another."""
    near: list[str] = []
    far: list[str] = []
    ranges = [_network(cidr) for cidr in PRIVATE]
    last: dict[tuple[bool, str, int], tuple[int, int]] = {}  # what one kind of entry was last about
    for one in sorted(set(destinations), key=lambda one: _network(one.cidr)):
        here = _network(one.cidr)
        private = any(_inside(here, outer) for outer in ranges)
        kind = private, one.protocol, one.port
        if kind in last and _inside(here, last[kind]):
            continue
        last[kind] = here
        (near if private else far).append(f"{one.cidr} . {one.protocol} . {one.port}")
    return tuple(near), tuple(far)


def _reached(here: Names, link: Link) -> str:
    near, far = split(link.network.reach.destinations)
    elements = [*((f"near_{link.slot}", one) for one in near), *((f"far_{link.slot}", one) for one in far)]
    whether_open, whether_cut = _states(here, link)
    elements.append(whether_cut if link.network.reach.cut else whether_open)
    return _elements(here, "add", elements)


def _neither(here: Names, link: Link) -> str:
    """Neither open nor cut, whichever it was: one can only delete what is there."""
    states = _states(here, link)
    return _elements(here, "add", states) + _elements(here, "delete", states)


def _states(here: Names, link: Link) -> tuple[tuple[str, str], tuple[str, str]]:
    interface = here.interface(link.slot)
    return ("open", f'"{interface}" . {here.address(link.slot)} . {link.mark:#x}'), ("cut", f'"{interface}"')


def _elements(here: Names, verb: str, elements: Sequence[tuple[str, str]]) -> str:
    """One line for each set: (set, element)."""
    by_set: dict[str, list[str]] = {}
    for name, element in elements:
        by_set.setdefault(name, []).append(element)
    return "".join(
        f"{verb} element inet {here.table} {name} {{ {', '.join(found)} }}\n" for name, found in by_set.items()
    )


def _network(cidr: str) -> tuple[int, int]:
    """(first address, length)."""
    address, _, length = cidr.partition("/")
    first = octets(address)
    if first is None:
        raise ValueError(f"{cidr} is not an IPv4 network")
    return first, int(length)


def _inside(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return inner[1] >= outer[1] and inner[0] >> (32 - outer[1]) == outer[0] >> (32 - outer[1])


def _dotted(value: int) -> str:
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))
