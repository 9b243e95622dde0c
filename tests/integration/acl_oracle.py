"""What a job may do at the broker, by the words of docs/TENANTS.md: an answer of its own, not the agent's code.

Three tenants with five jobs each, six devices in three zones, and all the topics that are tried.
"""

from dataclasses import dataclass

TENANTS = ("acme", "bolt", "citrus")
OTHER = {"acme": "bolt", "bolt": "citrus", "citrus": "acme"}
# id -> (zone, class)
DEVICES = {
    "temp-1": ("acme-shelf", "thermometer"),
    "temp-2": ("bolt-shelf", "thermometer"),
    "cam-1": ("acme-shelf", "camera"),
    "cam-2": ("citrus-shelf", "camera"),
    "gate": ("door", "gate"),
    "plain": ("", ""),
}


@dataclass(frozen=True)
class Grant:
    device: str = ""
    zone: str = ""
    kind: str = ""
    channel: str = ""
    commands: tuple[str, ...] = ()

    def devices(self) -> set[str]:
        if self.device:
            return {self.device}
        return {
            name for name, (zone, kind) in DEVICES.items() if self.zone in ("", zone) and self.kind in ("", kind)
        }  # fmt: skip


@dataclass(frozen=True)
class OneJob:
    tenant: str
    job: str
    grants: tuple[Grant, ...]

    @property
    def run(self) -> str:
        return f"{self.tenant}-{self.job}.1.1"


def jobs() -> list[OneJob]:
    kinds = {
        "orders": lambda t: (Grant("gate", commands=("open",)),),
        "meter": lambda t: (Grant("temp-1", channel="celsius"), Grant("to-come", channel="+")),
        "shelf": lambda t: (Grant(zone=f"{t}-shelf", channel="#", commands=("*",)),),
        "class": lambda t: (Grant(kind="thermometer", channel="+/now"),),
        "both": lambda t: (
            Grant(zone=f"{t}-shelf", kind="camera", channel="status", commands=("pan", "tilt")),
            Grant("temp-2", channel="+"),
        ),
    }
    return [OneJob(tenant, name, made(tenant)) for tenant in TENANTS for name, made in kinds.items()]


# --- MQTT's own rules ----------------------------------------------------------------------------


def fits(filter_: str, topic: str) -> bool:
    if filter_[:1] in "#+" and topic[:1] == "$":
        return False
    mine, its = filter_.split("/"), topic.split("/")
    if mine[-1] == "#":
        mine.pop()
        its = its[: len(mine)]
    return len(mine) == len(its) and all(a in ("+", b) for a, b in zip(mine, its, strict=True))


def inside(filter_: str, granted: str) -> bool:
    """Every topic of `filter_` is one of `granted`."""
    mine, all_ = filter_.split("/"), granted.split("/")
    for at, level in enumerate(all_):
        if level == "#":
            return True
        if at == len(mine):
            return False
        if mine[at] == "#" or (level != "+" and mine[at] != level):
            return False
    return len(mine) == len(all_) or (len(mine) < len(all_) and all_[len(mine) :] == ["#"])


# --- what is allowed -----------------------------------------------------------------------------


def granted(job: OneJob) -> list[str]:
    own = [f"tenants/{job.tenant}/#"]
    given = (f"devices/{name}/{grant.channel}" for grant in job.grants if grant.channel for name in grant.devices())
    return [*own, *given]


def is_command(topic: str) -> bool:
    levels = topic.split("/")
    return levels[0] == "devices" and len(levels) > 2 and levels[2] == "cmd"


def reads(job: OneJob, topic: str) -> bool:
    return not is_command(topic) and any(fits(each, topic) for each in granted(job))


def subscribes(job: OneJob, filter_: str) -> bool:
    plain = filter_.removeprefix(f"$share/{job.tenant}/")
    if plain.startswith("$") or is_command(plain):
        return False
    return any(inside(plain, each) for each in granted(job))


def sends(job: OneJob, topic: str) -> bool:
    levels = topic.split("/")
    if levels[:2] != ["tenants", job.tenant]:
        return False
    match levels[2:]:
        case ["jobs", _, "devices"]:
            return False  # the agent's own word
        case ["devices", device, "cmd", name]:
            return any(device in g.devices() and {"*", name} & set(g.commands) for g in job.grants) and bool(name)
        case ["devices", _, "cmd", *_]:
            return False
        case _:
            return True


# --- what is tried: {t} is the job's own tenant, {o} another, {j} the job --------------------------

SUBSCRIPTIONS = (
    "#", "+", "+/+/+", "/#", "+/#", "devices/#", "devices/+", "devices/+/celsius", "devices/+/#", "+/temp-1/celsius",
    "devices/temp-1/celsius", "devices/temp-1/#", "devices/temp-1/+", "devices/temp-1", "devices/temp-1/",
    "devices/temp-2/deep/now", "devices/temp-2/+/now", "devices/temp-2/+", "devices/cam-1/+/pan", "devices/cam-1/#",
    "devices/cam-1/cmd", "devices/cam-1/cmd/#", "devices/cam-1/cmd/pan", "devices/cam-1/cmd/+/ack",
    "devices/cam-2/status", "devices/to-come/x", "DEVICES/temp-1/celsius", "devices/TEMP-1/celsius",
    "devices/temp-1/celsius/", "devices//temp-1/celsius", "/devices/temp-1/celsius", "devices/temp-1/celsius/#",
    "devices/temp-1/ celsius", "tenants/#", "tenants/+/note", "tenants/{t}/#", "tenants/{t}", "tenants/{o}/#",
    "tenants/{o}/note", "tenants/{t}2/note", "tenants/{t}/../{o}/note", "tenants/{t}/jobs/+/devices",
    "tenants/{o}/jobs/+/devices", "tenants/{t}/" + "a/" * 180 + "z", "tenants/{t}/" + "n" * 65000, "$SYS/#",
    "$SYS/broker/clients/total", "$CONTROL/#", "$CONTROL/dynamic-security/v1/response",
    "$share/{t}/devices/temp-1/celsius", "$share/{o}/devices/temp-1/celsius", "$share/g/devices/temp-1/celsius",
    "$share/{t}/#", "$share/{t}/tenants/{o}/#", "$share/{t}/$SYS/#", "$share/{t}/tenants/{t}/#",
    "$share/{t}/devices/cam-1/cmd/#", "$share/{t}/$share/{t}/tenants/{t}/#", "$queue/tenants/{t}/note", "spBv1.0/#",
    "zigbee2mqtt/#", "homeassistant/#",
)  # fmt: skip
PUBLICATIONS = (
    "tenants/{t}/note", "tenants/{t}", "tenants/{t}/", "tenants/{t}//", "tenants/{t}/a/b/c", "tenants/{o}/note",
    "tenants/{o}", "tenants/{t}2/note", "tenants//{t}/note", "TENANTS/{t}/note", "Tenants/{t}/note",
    "/tenants/{t}/note", "tenants", "tenants/{t}/../{o}/note", "tenants/{t}/jobs/{j}/devices",
    "tenants/{o}/jobs/{j}/devices", "tenants/{t}/jobs/devices", "tenants/{t}/devices/gate/cmd/open",
    "tenants/{t}/devices/gate/cmd/shut", "tenants/{t}/devices/cam-1/cmd/pan", "tenants/{t}/devices/cam-1/cmd/zoom",
    "tenants/{t}/devices/cam-2/cmd/tilt", "tenants/{t}/devices/gate/cmd", "tenants/{t}/devices/gate/cmd/open/ack",
    "tenants/{t}/devices/gate/cmd/", "tenants/{t}/devices/gate/CMD/open", "tenants/{o}/devices/gate/cmd/open",
    "tenants/{t}/devices/gate/state", "devices/temp-1/celsius", "devices/gate/cmd/open", "devices/gate/cmd/open/ack",
    "devices/gate/status", "devices", "$SYS/broker/uptime", "$SYS/x", "$CONTROL/dynamic-security/v1",
    "$CONTROL/dynamic-security/v1/response", "$share/{t}/tenants/{t}/note", "spBv1.0/group/NCMD/node",
    "zigbee2mqtt/lamp/set", "homeassistant/status", "x", " ", "tenants/{t} /note", "tenants/{t}/" + "a/" * 180 + "z",
    "tenants/{t}/" + "n" * 65000,
)  # fmt: skip
# What devices, other tenants and the agent say meanwhile, retained: who should not see them doesn't.
WORDS = (
    *(f"devices/{name}/{channel}" for name in (*DEVICES, "to-come")
      for channel in ("celsius", "status", "deep/now", "cmd/pan", "cmd/pan/ack", "x")),
    *(f"tenants/{tenant}/{rest}" for tenant in TENANTS for rest in ("note", "jobs/shelf/devices", "a/b")),
    "tenants", "devices", "devices/temp-1", "spBv1.0/group/NDATA/node", "zigbee2mqtt/lamp", "homeassistant/status", "x",
)  # fmt: skip
