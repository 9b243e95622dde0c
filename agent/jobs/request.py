"""From a job's spec, and what was found out for it, to what the launcher is asked for. Pure."""

import base64
import ipaddress  # deferred (agent/deferred.py): no name of it when this file is imported, not even in an annotation
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

from agent.sandbox import CheckRequest, Destination, JobRequest, NetworkRequest, PublishedPort, Reach
from agent.spec import HealthCheck, JobSpec, Network

MAX_DESTINATIONS = 512  # launcher/protocol.py Reach
# Only an entry that lies inside one of these opens addresses of it: what a name resolves to is chosen by whoever
# owns the name, and must never be the store's own network (DNS rebinding) or this box.
_PRIVATE = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "224.0.0.0/3",
)  # fmt: skip

# The addresses of a name, none while it is unknown.
Known = Callable[[str], tuple[str, ...]]


def job_request(run: str, spec: JobSpec, image: str, reach: Reach, secrets: Mapping[str, bytes]) -> JobRequest:
    """`reach` counts only for a job with a network."""
    limits = spec.limits
    return JobRequest(
        run=run,
        tenant=spec.tenant,
        job=spec.id,
        image=image,
        command=spec.command,
        cpu_milli=limits.cpu_milli,
        memory_bytes=limits.memory_bytes,
        pids=limits.pids,
        log_bytes=limits.log_bytes,
        tmp_bytes=min(limits.tmp_bytes, limits.memory_bytes),  # /tmp lives in the job's memory
        open_files=limits.open_files,
        disk_bytes=limits.disk_bytes,
        io_bytes_per_second=limits.io_bytes_per_second if limits.disk_bytes else 0,
        env=spec.env,
        network=_network(spec.network, reach) if spec.network is not None else None,
        check=_check(spec.health) if spec.health is not None else None,
        mqtt=bool(spec.mqtt),
        secrets={name: base64.b64encode(content).decode() for name, content in secrets.items()},
    )


def names(spec: JobSpec) -> tuple[str, ...]:
    """What has to be resolved for the job."""
    entries = spec.network.egress if spec.network is not None else ()
    return tuple(dict.fromkeys(entry.name for entry in entries if entry.name))


def reach(network: Network, known: Known, *, cut: bool) -> Reach:
    """What the job may reach now. A private address that a name has is in its /etc/hosts, but only a cidr opens it."""
    cidrs = [ipaddress.IPv4Network(entry.cidr) for entry in network.egress if entry.cidr]
    destinations = [
        Destination(entry.cidr, entry.port, _protocol(entry.protocol)) for entry in network.egress if entry.cidr
    ]
    hosts: dict[str, tuple[str, ...]] = {}
    for entry in network.egress:
        if not entry.name:
            continue
        found = [ipaddress.IPv4Address(address) for address in known(entry.name)]
        public = [address for address in found if not _is_private(address)]
        hosts[entry.name.lower()] = tuple(
            str(address) for address in found if address in public or _opened(address, cidrs)
        )
        destinations += [Destination(f"{address}/32", entry.port, _protocol(entry.protocol)) for address in public]
    some = {name: addresses for name, addresses in hosts.items() if addresses}
    return Reach(tuple(dict.fromkeys(destinations))[:MAX_DESTINATIONS], some, cut)


def _network(network: Network, now: Reach) -> NetworkRequest:
    return NetworkRequest(
        reach=now,
        publish=tuple(PublishedPort(each.port, each.job_port, _protocol(each.protocol)) for each in network.publish),
        peers=network.peers,
        bits_per_second=network.bits_per_second,
    )


def _protocol(word: str) -> Literal["tcp", "udp"]:
    return "udp" if word == "udp" else "tcp"


def _check(check: HealthCheck) -> CheckRequest:
    return CheckRequest(check.command, check.tcp_port, check.timeout_seconds)


@cache
def _private() -> "tuple[ipaddress.IPv4Network, ...]":
    return tuple(ipaddress.IPv4Network(each) for each in _PRIVATE)


def _is_private(address: "ipaddress.IPv4Address") -> bool:
    return any(address in network for network in _private())


def _opened(address: "ipaddress.IPv4Address", cidrs: "list[ipaddress.IPv4Network]") -> bool:
    """By an entry that lies inside a private range, as the launcher has it too."""
    inside = (cidr for cidr in cidrs if any(cidr.subnet_of(private) for private in _private()))
    return any(address in cidr for cidr in inside)
