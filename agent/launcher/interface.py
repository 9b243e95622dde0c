"""The network of this machine, looked at: whether runs can have one here, and what went over a run's interface."""

import signal
from pathlib import Path

from agent.launcher import firewall, monitor, network
from agent.launcher.firewall import Link
from agent.launcher.layout import Host
from agent.launcher.monitor import Process
from agent.launcher.protocol import LauncherError, NetworkRequest

_TRY_SECONDS = 120.0  # the first time after a boot the kernel may have a dozen modules to load
_NSENTER, _UNSHARE = "/usr/bin/nsenter", "/usr/bin/unshare"


def router(netns: Path, marker: Path) -> bool:
    """Whether `netns` forwarded packets before we made it. Raises LauncherError(host)."""
    return _said(netns, "cat", "/proc/sys/net/ipv4/ip_forward") == "1" and not marker.exists()


def ipv6(proc: Path = Path("/proc")) -> bool:
    return (proc / "net/if_inet6").exists()


def unavailable(cidr: str, netns: Path) -> str:
    """Why no run can have a network here, for people; empty when it can: all of it was just tried."""
    here = firewall.names("probe", cidr)
    probe = Link("probe", "probe", "probe", 0, 1, NetworkRequest())
    script = firewall.table(here, (probe,), guard=True)
    shell = (
        "ip link add ej0 type veth peer name ej1 && tc qdisc add dev ej0 root tbf rate 1mbit burst 16kb latency 50ms "
        "&& nft -f -"
    )
    code, said = monitor.command((_UNSHARE, "--net", "--", "/bin/sh", "-c", shell), script, _TRY_SECONDS)
    if code == -signal.SIGKILL:
        said = f"not within {_TRY_SECONDS:.0f} s"
    if code != 0:
        return f"ip, tc or nft doesn't do what runs' networks take: {said[:500]}"
    try:
        return _overlap(cidr, netns)
    except LauncherError as error:
        return str(error)


def _overlap(cidr: str, netns: Path) -> str:
    """What of this machine's own networks has addresses that runs would get, for people: it would be out of reach.

    A wider network behind a router may hold them: then only those addresses of it are runs'.
    """
    script = f"ip -4 route show root {cidr} && ip -4 route show scope link match {cidr}"
    for line in _said(netns, "/bin/sh", "-c", f"{{ {script}; }} | sed '/ dev ej/d; /^default/d'").splitlines():
        return f'policy `network`: {cidr} is, or is part of, "{line.strip()}" on this machine; name another network'
    return ""


def counters(link: Link, job: Process, host: Host, proc: Path = Path("/proc")) -> tuple[int, int]:
    """Bytes (received, sent) as the run sees it, with the headers of their frames (14 bytes each), since it began.

    Read beside `job`, the run's init, while it lives; then our end of the link tells, and (0, 0) when that is gone too.
    Never from nftables: a packet that the rate's queue drops is offered, and counted, again.
    """
    if job.alive():
        try:
            found = _bytes((proc / str(job.pid) / "net/dev").read_text(), "eth0")
        except OSError:  # it ended meanwhile
            found = None
        if found is not None and job.alive():  # else the number may have been another process's, with another eth0
            return found
    if host.netns is None:
        return 0, 0
    interface = network.names(host).interface(link.slot)
    try:
        text = _said(host.netns, "grep", "-F", f"{interface}:", "/proc/self/net/dev")
    except LauncherError:
        return 0, 0
    sent, received = _bytes(text, interface) or (0, 0)
    return received, sent


def _bytes(text: str, interface: str) -> tuple[int, int] | None:
    """(received, sent) out of proc(5)'s net/dev; None without that interface."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == interface:
            fields = rest.split()
            return int(fields[0]), int(fields[8])
    return None


def _said(netns: Path, *words: str) -> str:
    code, said = monitor.command((_NSENTER, f"--net={netns}", "--", *words))
    if code != 0:
        raise LauncherError("host", f"{' '.join(words)} in {netns}: {said}")
    return said
