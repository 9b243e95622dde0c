"""What there is at the broker against what there is to be: the commands of its administration that mend it. Pure.

In an order that never opens a hole: who is wrong is thrown out first, and let in again when its roles are right.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from agent.mqtt.access.policy import Access, Role, User, owner
from agent.mqtt.access.seed import DEFAULT_ACCESS, acl_json, role_json, roles_json

Json = Mapping[str, Any]
Command = dict[str, Any]
_ROLE_KEYS = ("rolename", "priority")


def settings(default_access: Json, anonymous_group: Json, groups: Json) -> list[Command]:
    """From the answers to getDefaultACLAccess, getAnonymousGroup and listGroups."""
    commands: list[Command] = []
    wrong = [
        {"acltype": acl["acltype"], "allow": not acl["allow"]}
        for acl in default_access["acls"]
        if DEFAULT_ACCESS.get(acl["acltype"], acl["allow"]) != acl["allow"]
    ]
    if wrong:
        commands.append({"command": "setDefaultACLAccess", "acls": wrong})
    if anonymous_group.get("group", {}).get("groupname"):
        commands.append({"command": "setAnonymousGroup", "groupname": ""})
    commands += [{"command": "deleteGroup", "groupname": name} for name in groups["groups"]]
    return commands


def is_client(listed: Json, user: User) -> bool:
    """Whether the client, as the broker lists it, is the user. Its password can't be asked for: its mark can."""
    roles = [{key: role[key] for key in _ROLE_KEYS if key in role} for role in listed.get("roles", ())]
    return (
        listed.get("textdescription") == user.mark
        and roles == roles_json(user)
        and not listed.get("groups")
        and not listed.get("disabled")
        and not listed.get("clientid")
    )


def is_role(listed: Json, role: Role) -> bool:
    return _acls(listed["acls"]) == _acls(map(acl_json, role.acls))


def wrong_clients(listed: Iterable[Json], access: Access) -> Iterator[str]:
    """Names that can't stay as they are."""
    for client in listed:
        name = client["username"]
        user = access.user(name)
        if not access.is_left_alone(name) and (user is None or not is_client(client, user)):
            yield name


def wrong_roles(listed: Iterable[Json], access: Access) -> Iterator[str]:
    for role in listed:
        name = role["rolename"]
        user = access.user(owner(name))
        wanted = None if user is None else next((each for each in user.roles if each.name == name), None)
        if not access.is_left_alone(name) and (wanted is None or not is_role(role, wanted)):
            yield name


def mend(user: User | None, client: Json | None, roles: Mapping[str, Json]) -> list[Command]:
    """`client` and `roles` are what the broker has of the user's name; `user` is None when nobody is to have it."""
    commands: list[Command] = []
    stays = user is not None and client is not None and is_client(client, user)
    if client is not None and not stays:
        commands.append({"command": "deleteClient", "username": client["username"]})
    wanted = {} if user is None else {role.name: role for role in user.roles}
    for role in wanted.values():
        if role.name not in roles:
            commands.append({"command": "createRole", **role_json(role)})
        elif not is_role(roles[role.name], role):
            commands.append({"command": "modifyRole", **role_json(role)})
    if user is not None and not stays:
        commands.append(_create(user))
    commands += [{"command": "deleteRole", "rolename": name} for name in roles if name not in wanted]
    return commands


def _create(user: User) -> Command:
    created = {
        "command": "createClient",
        "username": user.name,
        "textdescription": user.mark,
        "roles": roles_json(user),
    }
    return {**created, "password": user.password} if user.password else created


def _acls(listed: Iterable[Json]) -> Collection[tuple[Any, ...]]:
    return {(acl["acltype"], acl["topic"], acl.get("priority", 0), acl["allow"]) for acl in listed}
