"""A process that speaks multicast DNS for the agent, so that the daemon needn't load a library for it.

Run by advertise.py as a file, with -I: stdlib and zeroconf only, nothing of ours. Each line on stdin is the whole of
what to advertise, as JSON, and replaces the one before; the end of stdin withdraws everything and ends the process.

    {"host": "store-7",              this node, as the host name <host>-storeedge.local.
     "interfaces": ["eth0"],         none = those that look like the store's network
     "services": [{"service": "drone", "protocol": "tcp", "name": "dock on store-7", "port": 20001, "txt": {"v": "1"}}]}

Each change is answered by a line on stdout: {"addresses": ["192.168.1.5"], "services": 1}.
"""

import asyncio
import json
import re
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import ifaddr
from zeroconf import IPVersion, NonUniqueNameException, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

RESCAN_SECONDS = 15.0  # an address that DHCP changes is advertised this much later
_LABEL_BYTES = 63  # RFC 1035, 2.3.4
_LINE_BYTES = 1 << 20
_LANS = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))  # RFC 1918: never the WAN's side
# Not the store's network either: loopback, bridges and tunnels of containers and machines on this box, jobs' own.
_INSIDE = ("lo", "ej", "docker", "br-", "veth", "virbr", "cni", "podman", "lxc", "lxd", "tun", "wg", "tailscale")


def lan_addresses(interfaces: Iterable[str], adapters: Iterable[Any]) -> tuple[str, ...]:
    """IPv4 addresses to advertise: all of these interfaces, or those that look like the store's network."""
    named = frozenset(interfaces)
    found: set[str] = set()
    for adapter in adapters:
        addresses = {ip.ip for ip in adapter.ips if ip.is_IPv4}
        if adapter.name in named:
            found |= addresses
        elif not named and not adapter.name.startswith(_INSIDE):
            found |= {each for each in addresses if any(IPv4Address(each) in lan for lan in _LANS)}
    return tuple(sorted(found))


def described(host: str, service: Mapping[str, Any], addresses: Iterable[str]) -> ServiceInfo:
    """`_SERVICE._storeedge._tcp.local.` of one published port; the instance's name is cut to what a label takes."""
    type_ = f"_{service['service']}._storeedge._{service['protocol']}.local."
    # zeroconf counts the instance and the first label of such a type as one label.
    room = _LABEL_BYTES - len(service["service"]) - 2
    instance = service["name"].replace(".", "-").encode()[:room].decode(errors="ignore")
    label = re.sub(r"[^a-zA-Z0-9-]", "-", host)[: _LABEL_BYTES - len("-storeedge")].strip("-") or "node"
    return ServiceInfo(
        type_,
        f"{instance}.{type_}",
        port=service["port"],
        properties=service["txt"],
        server=f"{label}-storeedge.local.",
        addresses=[socket.inet_aton(address) for address in addresses],
    )


class Advertiser:
    """What is on the air now; `settle` makes it what is wanted."""

    def __init__(self) -> None:
        self._settled: tuple[tuple[str, ...], frozenset[str]] = ((), frozenset())
        self._speaker: AsyncZeroconf | None = None
        self._told: dict[str, ServiceInfo] = {}

    async def settle(self, wanted: Mapping[str, Any]) -> None:
        addresses = lan_addresses(wanted["interfaces"], ifaddr.get_adapters())
        services = {json.dumps([wanted["host"], each], sort_keys=True): each for each in wanted["services"]}
        goal = (addresses, frozenset(services))
        if goal == self._settled:
            return
        if addresses != self._settled[0]:
            await self.close()
            self._speaker = AsyncZeroconf(list(addresses), ip_version=IPVersion.V4Only) if addresses else None
        if self._speaker is not None:
            for key in self._told.keys() - services.keys():
                info = self._told.pop(key)
                await (await self._speaker.async_unregister_service(info))  # pyright: ignore[reportUnknownMemberType]  its Awaitable names no type
            async with asyncio.TaskGroup() as group:
                for key in services.keys() - self._told.keys():
                    info = self._told[key] = described(wanted["host"], services[key], addresses)
                    group.create_task(_register(self._speaker, info))
        self._settled = goal
        print(json.dumps({"addresses": addresses, "services": len(self._told)}), flush=True)  # noqa: T201  its answer

    async def close(self) -> None:
        """Say goodbye for everything, so that nobody tries a port that is gone."""
        speaker, self._speaker = self._speaker, None
        self._told.clear()
        if speaker is not None:
            await speaker.async_unregister_all_services()
            await speaker.async_close()


async def _register(speaker: AsyncZeroconf, info: ServiceInfo) -> None:
    """Under another name if this one is taken on the network."""
    try:
        await (await speaker.async_register_service(info, allow_name_change=True))  # pyright: ignore[reportUnknownMemberType]  its Awaitable names no type
    except NonUniqueNameException as error:
        print(f"{info.name}: {error!r}", file=sys.stderr)  # noqa: T201  the agent logs it


async def run(lines: asyncio.StreamReader) -> None:
    advertiser, wanted = Advertiser(), None
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(RESCAN_SECONDS):
                line = await lines.readline()
                if not line:
                    break
                wanted = json.loads(line)
        if wanted is not None:
            await advertiser.settle(wanted)
    await advertiser.close()


async def main() -> None:
    lines = asyncio.StreamReader(limit=_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await run(lines)


if __name__ == "__main__":
    asyncio.run(main())
