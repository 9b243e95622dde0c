"""As much of mosquitto's dynamic-security plugin as the agent asks of it: clients and roles, listed in pages."""

import json
from collections.abc import Callable
from typing import Any

from agent.errors import AwayError
from agent.mqtt.access.dynsec import RESPONSES
from agent.mqtt.access.seed import DEFAULT_ACCESS
from agent.mqtt.wire.delivery import Delivery

Json = dict[str, Any]


class FakePlugin:
    """Runs a batch before it answers it. `refuses` is a command that it doesn't carry out."""

    def __init__(self) -> None:
        self.clients: dict[str, Json] = {}
        self.roles: dict[str, Json] = {}
        self.asked: list[str] = []
        self.largest_bytes = 0
        self.away = self.mute = False
        self.refuses = ""
        self.receive: Callable[[Delivery], None] = print

    async def publish(self, topic: str, payload: bytes) -> None:
        if self.away:
            raise AwayError("the broker is away")
        assert topic == "$CONTROL/dynamic-security/v1"
        self.largest_bytes = max(self.largest_bytes, len(payload))
        answers: list[Json] = []
        for command in json.loads(payload)["commands"]:
            self.asked.append(command["command"])
            answers.append({**self.run(command), "correlationData": command["correlationData"]})
        if not self.mute:
            document = json.dumps({"responses": answers}).encode()
            self.receive(Delivery(RESPONSES, document, 1, False, False, 1))

    def run(self, command: Json) -> Json:
        """The answer. Asserts what the plugin would refuse."""
        verb = command["command"]
        if verb == self.refuses:
            return {"command": verb, "error": "Internal error"}
        if verb.startswith(("get", "list")):
            data = self._tell(verb, command)
            return {"command": verb, "error": "not found"} if data is None else {"command": verb, "data": data}
        self._do(verb, command)
        return {"command": verb}

    def _tell(self, verb: str, command: Json) -> Json | None:
        if verb == "getDefaultACLAccess":
            return {"acls": [{"acltype": word, "allow": allow} for word, allow in DEFAULT_ACCESS.items()]}
        if verb == "getAnonymousGroup":
            return {"group": {"groupname": ""}}
        if verb == "listGroups":
            return {"groups": []}
        key, kept = ("client", self.clients) if "Client" in verb else ("role", self.roles)
        if verb.startswith("list"):
            return {f"{key}s": list(kept.values())[command["offset"] : command["offset"] + command["count"]]}
        found = kept.get(command["username" if key == "client" else "rolename"])
        return None if found is None else {key: found}

    def _do(self, verb: str, command: Json) -> None:
        match verb:
            case "createClient":
                assert command["username"] not in self.clients
                assert all(role["rolename"] in self.roles for role in command["roles"])
                self.clients[command["username"]] = {
                    key: command[key] for key in ("username", "textdescription", "roles")
                }
            case "deleteClient":
                del self.clients[command["username"]]
            case "createRole" | "modifyRole":
                assert (command["rolename"] in self.roles) == (verb == "modifyRole")
                self.roles[command["rolename"]] = {key: command[key] for key in ("rolename", "acls")}
            case "deleteRole":
                del self.roles[command["rolename"]]
            case _:
                raise AssertionError(verb)
