"""Tenants' views: from what jobs were granted to what their runs may read and write at the broker. Pure.

A run writes below its own tenant's topics and reads them; of the devices it reads what its grants say, each device by
its name: whoever comes into a zone or a class is added, whoever leaves is taken away. Commands are not sent to devices:
they are left below the tenant's topics, where the agent takes them up (commands/), and only for granted ones.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from agent.mqtt.access import secret as secrets
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.acl import Acl, AclKind
from agent.mqtt.access.policy import User, user
from agent.mqtt.topics import ROOT, is_command_name
from agent.spec import MqttGrant, MqttView

TENANTS = "tenants"
COMMANDS = f"{TENANTS}/+/{ROOT}/+/cmd/+"  # where the agent takes up what jobs want done
ANY = "*"

_ABOVE, _FIRST = 20, 10  # priorities: an exception to what is denied first; what is denied whatever is granted


@dataclass(frozen=True, slots=True)
class Command:
    """What a job left at `tenants/<tenant>/devices/<device>/cmd/<name>`."""

    tenant: str
    device: str
    name: str


def username(run: str) -> str:
    """Also the client id: a run has one connection at a time."""
    return f"job:{run}"


def password(secret: bytes, tenant: str, run: str) -> str:
    """Derived, so that it is the same whenever it is asked for. A run's name may come again, of another tenant."""
    return secrets.password(secret, "job", f"{tenant}/{username(run)}", 0)


def acls(view: MqttView, accounts: Collection[Account]) -> tuple[Acl, ...]:
    """Everything the run may do."""
    own = f"{TENANTS}/{view.tenant}"
    found = [
        # Whatever a channel's wildcard covers: commands of others, and the answers to them, are nobody's to read.
        Acl(AclKind.RECEIVE, f"{ROOT}/+/cmd/#", allow=False, priority=_FIRST),
        Acl(AclKind.SUBSCRIBE, f"{ROOT}/+/cmd/#", allow=False, priority=_FIRST),
        Acl(AclKind.SUBSCRIBE, f"$share/{view.tenant}/{ROOT}/+/cmd/#", allow=False, priority=_FIRST),
        # What the agent says there is said by nobody else; a command is sent only by who was granted it.
        Acl(AclKind.SEND, f"{own}/jobs/+/devices", allow=False, priority=_FIRST),
        Acl(AclKind.SEND, f"{own}/{ROOT}/+/cmd/#", allow=False, priority=_FIRST),
        Acl(AclKind.SEND, f"{own}/#"),
        *_readable(view.tenant, f"{own}/#"),
    ]
    for grant in view.grants:
        for device in devices(grant, accounts):
            if grant.channel:
                found += _readable(view.tenant, f"{ROOT}/{device}/{grant.channel}")
            for name in grant.commands:
                topic = f"{own}/{ROOT}/{device}/cmd/{'+' if name == ANY else name}"
                found.append(Acl(AclKind.SEND, topic, priority=_ABOVE))
    return tuple(dict.fromkeys(found))


def _readable(tenant: str, topic: str) -> tuple[Acl, ...]:
    """Shared subscriptions by the tenant's own name alone: two tenants would take each other's messages."""
    return (
        Acl(AclKind.RECEIVE, topic),
        Acl(AclKind.SUBSCRIBE, topic),
        Acl(AclKind.SUBSCRIBE, f"$share/{tenant}/{topic}"),
    )


def users(secret: bytes, views: Iterable[MqttView], accounts: Collection[Account]) -> dict[str, User]:
    """What the broker is to know of the runs, by user name."""
    made = (user(username(view.run), password(secret, view.tenant, view.run), acls(view, accounts)) for view in views)
    return {each.name: each for each in made}


def devices(grant: MqttGrant, accounts: Iterable[Account]) -> tuple[str, ...]:
    """Of zones and classes, those that are registered; one that is named may be yet to come."""
    if grant.device:
        return (grant.device,)
    return tuple(account.id for account in accounts if _is_of(grant, account))


def _is_of(grant: MqttGrant, account: Account) -> bool:
    wanted = ((grant.zone, account.zone), (grant.device_class, account.device_class))
    return any(grant_ for grant_, _ in wanted) and all(not grant_ or grant_ == has for grant_, has in wanted)


# --- commands ------------------------------------------------------------------------------------


def command(topic: str) -> Command | None:
    """What was left at `topic`, or None when it is no command's."""
    match topic.split("/"):
        case [root, tenant, below, device, "cmd", name] if (root, below) == (TENANTS, ROOT) and is_command_name(name):
            return Command(tenant, device, name)
        case _:
            return None


def may_command(wanted: Command, views: Iterable[MqttView], account: Account | None) -> MqttView | None:
    """A run of the tenant's that may; one of the store's own before others. `account` is the device's, if it has one.

    The broker has asked already whether it is the sender's own grant: this is for what has changed since.
    """
    able = [view for view in views if view.tenant == wanted.tenant and _commands(view, wanted, account)]
    return max(able, key=lambda view: view.store, default=None)


def _commands(view: MqttView, wanted: Command, account: Account | None) -> bool:
    known = () if account is None else (account,)
    return any(
        wanted.device in devices(grant, known) and not {ANY, wanted.name}.isdisjoint(grant.commands)
        for grant in view.grants
    )


def may_answer(tenant: str, topic: str) -> bool:
    """Whether an answer to the tenant may be published there: not to others, and never over what the agent says."""
    if "+" in topic or "#" in topic or "\0" in topic:
        return False
    match topic.split("/"):
        case [root, whose, "jobs", _, "devices"] if (root, whose) == (TENANTS, tenant):
            return False
        case [root, whose, _, *_] if (root, whose) == (TENANTS, tenant):
            return command(topic) is None
        case _:
            return False


# --- what there is -------------------------------------------------------------------------------


def documents(views: Iterable[MqttView], accounts: Collection[Account]) -> dict[str, bytes]:
    """By topic, retained: the devices that the grants of each job give now, as JSON."""
    return {f"{TENANTS}/{view.tenant}/jobs/{view.job}/devices": _document(view, accounts) for view in views}


def to_publish(told: Mapping[str, bytes], now: Mapping[str, bytes]) -> dict[str, bytes]:
    """What makes `now` of what was `told`; an empty payload takes a retained message away."""
    gone = dict.fromkeys((topic for topic in told if topic not in now), b"")
    return {**gone, **{topic: payload for topic, payload in now.items() if told.get(topic) != payload}}


def _document(view: MqttView, accounts: Collection[Account]) -> bytes:
    by_id = {account.id: account for account in accounts}
    given: dict[str, tuple[set[str], set[str]]] = {}
    for grant in view.grants:
        for device in devices(grant, accounts):
            channels, commands = given.setdefault(device, (set(), set()))
            channels.update([grant.channel] if grant.channel else [])
            commands.update(grant.commands)
    listed = [
        {
            "id": device,
            "registered": device in by_id,
            "zone": by_id[device].zone if device in by_id else "",
            "class": by_id[device].device_class if device in by_id else "",
            "channels": sorted(channels),
            "commands": sorted(commands),
        }
        for device, (channels, commands) in sorted(given.items())
    ]
    return json.dumps(listed, separators=(",", ":")).encode()
