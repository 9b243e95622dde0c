"""The file that the broker starts from."""

import base64
import hashlib
import json

from agent.model import Credential
from agent.mqtt.access import seed
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.policy import Access

SECRET = b"s" * 32
SCALE = Account("scale", credential=Credential.PASSWORD, password_generation=1)
SEALED = Account("sealed", credential=Credential.CERTIFICATE)


def access() -> Access:
    return Access(SECRET, {"scale": SCALE, "sealed": SEALED}, {}, None)


def test_the_same_state_is_the_same_file() -> None:
    assert seed.document(access()) == seed.document(access())


def test_what_is_allowed_by_default_is_nothing_but_to_stop_listening() -> None:
    allowed = {word for word, allow in json.loads(seed.document(access()))["defaultACLAccess"].items() if allow}
    assert allowed == {"unsubscribe"}


def test_passwords_are_stretched_as_the_plugin_does_and_certificates_have_none() -> None:
    clients = {client["username"]: client for client in json.loads(seed.document(access()))["clients"]}
    scale, user = clients["scale"], access().user("scale")
    assert user is not None
    stretched = hashlib.pbkdf2_hmac(
        "sha512", user.password.encode(), base64.b64decode(scale["salt"]), scale["iterations"]
    )
    assert base64.b64decode(scale["password"]) == stretched
    assert len(base64.b64decode(scale["salt"])) == 12
    assert len({client["salt"] for client in clients.values() if "salt" in client}) == len(clients) - 1
    assert not {"password", "salt"} & clients["sealed"].keys()
    assert user.password not in seed.document(access()).decode()


def test_every_client_has_its_roles_and_every_role_a_client() -> None:
    state = json.loads(seed.document(access()))
    named = {role["rolename"] for client in state["clients"] for role in client["roles"]}
    assert named == {role["rolename"] for role in state["roles"]}
    assert [client["username"] for client in state["clients"]] == sorted(
        (client["username"] for client in state["clients"]), reverse=True
    )
