"""The broker's whole state as the file it starts from: dynamic-security.json of mosquitto 2.0. Pure."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

from agent.mqtt.access.acl import Acl
from agent.mqtt.access.policy import Access, Role, User

# What the plugin denies and allows where no ACL says a word.
DEFAULT_ACCESS = {"publishClientSend": False, "publishClientReceive": False, "subscribe": False, "unsubscribe": True}
# The passwords are 256 bits of an HMAC: there is nothing to guess that stretching would slow down, and 20,000
# devices that come back after a power cut are answered the sooner. (The plugin's own commands take 101.)
_ITERATIONS = 1
_SALT_BYTES = 12


def document(access: Access) -> bytes:
    """Users and roles from Z to A: the plugin puts each in its place, from the front, when it reads the file."""
    users = [user for name in sorted(access.names(), reverse=True) if (user := access.user(name)) is not None]
    roles = sorted((role for user in users for role in user.roles), key=lambda role: role.name, reverse=True)
    state = {
        "defaultACLAccess": DEFAULT_ACCESS,
        "clients": [dict(_client(user, access.secret)) for user in users],
        "groups": [],
        "roles": [role_json(role) for role in roles],
    }
    return json.dumps(state, separators=(",", ":")).encode()


def role_json(role: Role) -> dict[str, Any]:
    """As a command takes it, and as the file has it."""
    return {"rolename": role.name, "acls": [acl_json(acl) for acl in role.acls]}


def acl_json(acl: Acl) -> dict[str, Any]:
    return {"acltype": acl.kind.value, "topic": acl.topic, "priority": acl.priority, "allow": acl.allow}


def roles_json(user: User) -> list[dict[str, Any]]:
    return [{"rolename": role.name, "priority": role.priority} for role in user.roles]


def _client(user: User, secret: bytes) -> Iterator[tuple[str, Any]]:
    yield "username", user.name
    yield "textdescription", user.mark
    yield "roles", roles_json(user)
    if user.password:
        # Derived, so that the same state is the same file.
        salt = hmac.digest(secret, f"salt\0{user.password}".encode(), hashlib.sha256)[:_SALT_BYTES]
        stretched = hashlib.pbkdf2_hmac("sha512", user.password.encode(), salt, _ITERATIONS)
        yield "password", base64.b64encode(stretched).decode()
        yield "salt", base64.b64encode(salt).decode()
        yield "iterations", _ITERATIONS
