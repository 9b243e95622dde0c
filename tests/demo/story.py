"""The demo's course of events, and what it must show in the end."""

import base64
import json
import re
import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import box
from tests.demo import evidence, menu
from tests.demo.devices import CAMERA, FLEET, Fleet, listed
from tests.demo.lan import PORT, Lan
from tests.demo.show import Show
from tests.stack import NODE, STORE, Stack, StackError, until

TARGET = f"{STORE}/{NODE}"
RATE = 4.0
# Job -> state at the end, exit code, last line of its log.
EXPECTED = {
    "invoice": ("failed", 3, "no such customer"),
    "probe": ("finished", 0, "== end"),
    "route-plan": ("finished", 0, "route cost 500500"),
    "memory-bomb": ("failed", 137, "allocating"),
    "menu": ("finished", 0, menu.LAST_LINE),
}
# Job -> generation and run that are there at the end; the desk's second run is the one after the failed update.
SERVICES = {"landing-guide": (1, 1), "parcel-desk": (1, 1), "flight-desk": (1, 2)}
OPENED, HELD, TAKEN = "open: open 12: done", "open: another tenant commands", "open: the store commands"


@dataclass
class Report:
    """What is written by --json; `failures` empty means ok."""

    ok: bool = False
    failures: list[str] = field(default_factory=list)
    devices: dict[str, int] = field(default_factory=dict)
    camera: dict[str, Any] = field(default_factory=dict)
    access: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    service: dict[str, Any] = field(default_factory=dict)
    usage: list[dict[str, Any]] = field(default_factory=list)
    telemetry: dict[str, Any] = field(default_factory=dict)
    processes: dict[str, Any] = field(default_factory=dict)
    probe: list[str] = field(default_factory=list)
    command: dict[str, Any] = field(default_factory=dict)
    image: dict[str, Any] = field(default_factory=dict)
    published: dict[str, bool] = field(default_factory=dict)
    secret: dict[str, Any] = field(default_factory=dict)
    rollback: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def expect(self, ok: bool, what: str) -> None:
        if not ok:
            self.failures.append(what)


class Story:
    def __init__(self, stack: Stack, lan: Lan, show: Show) -> None:
        self.stack, self.lan, self.show, self.report = stack, lan, show, Report()
        self._picture = secrets.token_hex(24)  # what the camera sees: nobody outside may
        self.fleet = Fleet(RATE, self._picture)
        self.gateway = box.open_gateway(stack)
        self.office = stack.dir / "office"  # the operator's: what is applied, and the secret in it
        self._key = secrets.token_bytes(32)
        self._over = threading.Event()

    # --- acts ----------------------------------------------------------------------------------

    def tell(self) -> Report:
        watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        watcher.start()
        try:
            self._open()
            self._devices()
            self._work()
            self._update()
            self._trouble()
            self._settle()
        finally:
            self._over.set()
            self.fleet.stop()
            watcher.join(10)
        self._account()
        self.report.ok = not self.report.failures
        self.report.seconds = round(self.show.seconds, 1)
        return self.report

    def _open(self) -> None:
        stack, step = self.stack, self.show.step
        often = "usage_interval_seconds = 5.0\n"
        stack.config.write_text(stack.config.read_text().replace(often, f"{often}seal_interval_seconds = 5.0\n"))
        central = stack.start_central()
        step(f"central is up: its own CA, enrolment and control ports (pid {central.pid})")
        stack.start_broker()
        launcher = stack.start_launcher()
        step(f"mosquitto and the privileged launcher are up (launcher pid {launcher.pid}, no internet socket)")
        stack.enrol()
        step(f"the store is enrolled as {TARGET}: key made on the box, one-time token spent")
        agent = stack.start_agent()
        step(f"the agent is ready (pid {agent.pid}, user edge-agent, no capabilities)")
        self.report.processes = {
            "agent": evidence.unprivileged(agent.pid),
            "launcher": {"inet_sockets": evidence.inet_sockets(launcher.pid)},
        }

    def _devices(self) -> None:
        until(self._sealing_key, what="the agent to connect")
        self.office.mkdir(mode=0o700)
        file, handed = self.office / "devices.csv", self.office / "handed"
        file.write_text(listed())
        self.stack.edgectl("device", "import", "--file", str(file), "--out", str(handed), TARGET)
        kinds = Counter(model.credential for model in FLEET.values())
        self.show.step(
            f"{len(FLEET)} devices registered from central: {kinds['key']} get certificates of the store's own CA,"
            f" {kinds['password']} passwords"
        )
        self.fleet.connect(handed, self.stack.broker.ports)
        self.report.access["fridge-02 speaks as fridge-01"] = self.fleet.devices["fridge-02"].say(
            "devices/fridge-01/temperature"
        )
        self.show.step(f"fridge-02 speaks as fridge-01: {self.report.access['fridge-02 speaks as fridge-01']}")

    def _work(self) -> None:
        digest = self.stack.edgectl("image", "push", TARGET, str(menu.archive(self.office / "menu.tar"))).strip()
        self.show.step(f"an OCI image is pushed to the store, made of this machine's shell: {digest[:19]}…")
        self.report.image = {"digest": digest}
        (self.office / "drone.key").write_bytes(self._key)
        text = Path(__file__).with_name("store.toml").read_text().replace("sha256:MENU", digest)
        text, _, self._courier = text.partition("# courier: applied later\n")
        self._apply(text)
        self.show.step("three tenants, eight jobs and a rule applied at central: a camera's pictures stay in the store")
        until(lambda: all(job in self._states() for job in EXPECTED), what="the jobs to reach the store", seconds=40)
        self.fleet.start()  # now that the rule is there
        self.show.step(f"the devices publish {RATE:g} messages a second each, over TLS, QoS 1")
        until(lambda: OPENED in self._log("parcel-desk"), what="the parcel desk to open a locker", seconds=60)
        self._account_grants()
        until(self._batches_done, what="the batch jobs to end", seconds=60)
        states = self._states()
        self.show.step("batch jobs ended: " + ", ".join(f"{job} {states[job]['state']}" for job in EXPECTED))
        answer = self.stack.edgectl_json("device", "send", TARGET, "fridge-07", "set-point", "3.5")
        self.report.command = {"answer": answer}
        self.show.step("central sends set-point 3.5 to fridge-07, which is warming; its answer came back")

    def _update(self) -> None:
        """The desk's next generation listens where nobody looks for it. Meanwhile three want one locker."""
        step, report = self.show.step, self.report
        until(lambda: self._desk()["health"] == "HEALTH_HEALTHY", what="the flight desk to be healthy")
        report.published = {"answers": self.lan.answers(self._key), "another_port": self.lan.reaches(8080)}
        step(f"a drone in the yard asks the flight desk at the store's port {PORT}; it proves that it knows the secret")
        good = (self.office / "store.toml").read_text()
        head, desk = good.split('id = "flight-desk"')
        broken = desk.replace("generation = 1", "generation = 2", 1).replace('"0.0.0.0", 8080', '"0.0.0.0", 9999')
        self._apply(f'{head}id = "flight-desk"{broken}{self._courier}')
        self._contend()
        until(lambda: self._rolled_back() is not None, what="the update to be rolled back")
        until(lambda: self._desk()["health"] == "HEALTH_HEALTHY", what="the flight desk to be healthy again")
        report.rollback = {**(self._rolled_back() or {}), "answers_again": self.lan.answers(self._key)}
        step(f"[bold]a bad update of it is rolled back[/bold]: {report.rollback['message']}")

    def _contend(self) -> None:
        """The parcel desk commands locker-1 each second; a courier of another tenant wants it, then the store does."""
        access = self.report.access
        until(lambda: "open: " in self._log("courier"), what="the courier to be answered", seconds=60)
        access["courier (skylane-drones) opens locker-1"] = self._log("courier").strip().removeprefix("open: ")
        self.stack.edgectl("device", "send", TARGET, "locker-1", "open", "3")
        access["the store opens locker-1"] = "open 3: done"
        until(lambda: TAKEN in self._log("parcel-desk"), what="the parcel desk to be told")
        lines = [line for line in self._log("parcel-desk").splitlines() if line.startswith(TAKEN)]
        access["parcel-desk, after the store"] = lines[0].removeprefix("open: ")
        self.show.step(
            "locker-1 has one master at a time: another tenant's courier is refused, the store takes it over"
        )

    def _trouble(self) -> None:
        stack, step = self.stack, self.show.step
        before = {name: self._local_jobs()[name]["pid"] for name in SERVICES}
        stack.wire.cut()
        step("[bold]the link to central is cut[/bold]; devices and jobs go on, records wait in the spool")
        self._pass(2)
        stack.parts["mosquitto"].kill()
        stack.start_broker()
        step("[bold]the broker is killed[/bold] (SIGKILL) and back, with who may do what from the agent's accounts")
        self._pass(3)
        stack.parts["agent"].kill()
        step("[bold]the agent is killed[/bold] (SIGKILL); the broker keeps what devices send, jobs run on")
        self._pass(2)
        self.report.published["answers_without_agent"] = self.lan.answers(self._key)
        stack.start_agent()
        after = {name: self._local_jobs()[name]["pid"] for name in SERVICES}
        step(f"the agent is back, without central; it found its {len(after)} jobs, their processes as they were")
        self._pass(1)
        stack.wire.mend()
        step("the link is whole again; the spool drains")
        self.report.service = {"pid_before": before, "pid_after": after}
        self.report.expect(before == after and all(before.values()), f"services kept their pids: {before} -> {after}")

    def _settle(self) -> None:
        self._pass(2)
        self.fleet.stop()
        until(self.fleet.settled, what="the broker to acknowledge every message")
        self.fleet.disconnect()
        self.show.step("devices are done; waiting until central holds everything")
        until(self._drained, what="the spool to drain", seconds=45)

    def _account(self) -> None:
        self._account_devices()
        self._account_camera()
        self._account_access()
        self._account_jobs()
        self._account_desk()
        self._account_bill()
        self._account_rest()

    # --- accounts ------------------------------------------------------------------------------

    def _account_devices(self) -> None:
        sent = self.fleet.acknowledged(name for name in FLEET if name != CAMERA)
        arrived: Counter[tuple[str, int]] = Counter()
        order: dict[str, list[int]] = {}
        for message in self.stack.edgectl_json("messages", TARGET)["messages"]:
            reading = json.loads(message["payload"]) if message["payload"].startswith("{") else {}
            if "n" in reading:
                arrived[message["device"], reading["n"]] += 1
                order.setdefault(message["device"], []).append(reading["n"])
        lost, duplicates = sent - set(arrived), sum(arrived.values()) - len(arrived)
        unordered = sum(numbers != sorted(numbers) for numbers in order.values())
        self.report.devices = {
            "devices": len(self.fleet.devices) - 1,
            "sent": len(sent),
            "received": len(arrived),
            "lost": len(lost),
            "duplicates": duplicates,
            "out_of_order_topics": unordered,
        }
        self.report.expect(not lost, f"{len(lost)} messages lost, e.g. {sorted(lost)[:3]}")
        self.report.expect(len(arrived) == len(sent), f"sent {len(sent)}, received {len(arrived)}")
        self.report.expect(duplicates == 0, f"{duplicates} duplicates")
        self.report.expect(unordered == 0, f"{unordered} topics out of order")

    def _account_camera(self) -> None:
        """Seen in the store, and in no message, no record that waits and no file of what is to leave."""
        shown = json.loads(self.stack.agent_cli("device", "show", CAMERA, "--json"))
        topics = {message["topic"] for message in self.stack.edgectl_json("messages", TARGET)["messages"]}
        searched = [*evidence.files(self.stack.state_dir), *evidence.files(self.stack.dir / "central")]
        picture = self._picture.encode()
        told = [str(path) for path in searched if evidence.holds(path, picture, base64.b64encode(picture))]
        sent = len(self.fleet.acknowledged([CAMERA]))
        self.report.camera = {
            "pictures": sent,
            "messages_seen_in_the_store": int(shown["messages"]),
            "at_central": int(f"devices/{CAMERA}/picture" in topics),
            "files_searched": len(searched),
            "found_in": told,
        }
        self.report.expect(sent > 0 and int(shown["messages"]) > 0, f"pictures: {sent} sent, {shown['messages']} seen")
        self.report.expect(f"devices/{CAMERA}/status" in topics, "not even the camera's status came to central")
        self.report.expect(not told and not self.report.camera["at_central"], f"pictures left the store: {told}")

    def _account_grants(self) -> None:
        """What the parcel desk was granted, and what it was not."""
        said = dict(line.split(": ", 1) for line in self._log("parcel-desk").splitlines() if ": " in line)
        access = self.report.access
        access["parcel-desk (parcelways) is granted"] = said.get("granted", "")
        access["parcel-desk reads fridge-01"] = said.get("fridge-01", "")
        access["parcel-desk opens locker-1"] = "open 12: done"
        self.show.step(f"a tenant's parcel desk sees {said.get('granted')} and opens one; fridge-01 it may not hear")

    def _account_access(self) -> None:
        access = self.report.access
        wanted = {
            "fridge-02 speaks as fridge-01": "Not authorized",
            "parcel-desk (parcelways) is granted": "locker-1 locker-2",
            "parcel-desk reads fridge-01": "All subscription requests were denied.",
        }
        for what, answer in wanted.items():
            self.report.expect(access[what] == answer, f"{what}: {access[what]!r}")
        held = access["courier (skylane-drones) opens locker-1"]
        self.report.expect(f"open: {held}".startswith(HELD), f"the courier was told: {held}")

    def _account_jobs(self) -> None:
        states = self._states()
        for name, (state, code, last) in EXPECTED.items():
            job = states.get(name, {})
            lines = self.stack.edgectl("logs", TARGET, name).splitlines()
            got = (job.get("state"), job.get("exit_code"), lines[-1] if lines else "")
            self.report.jobs[name] = {
                "state": got[0], "reason": job.get("reason"), "exit_code": got[1], "last_line": got[2],
            }  # fmt: skip
            self.report.expect(got == (state, code, last), f"job {name}: {got}, expected {(state, code, last)}")
            if name == "probe":
                self._account_probe(lines)
        for name, (generation, attempt) in SERVICES.items():
            job = states[name]
            found = {key: job[key] for key in ("state", "generation", "attempt")}
            wanted = {"state": "running", "generation": generation, "attempt": attempt}
            self.report.jobs[name] = found
            self.report.expect(found == wanted, f"service {name} was disturbed: {job}")
        self.report.expect(states["memory-bomb"].get("reason") == "oom", "memory-bomb did not end by OOM")

    def _account_probe(self, lines: list[str]) -> None:
        """What a job sees of the world: docs/THREATS.md says what it may."""
        self.report.probe = lines
        shown = "\n".join(lines)
        capabilities = [line.split()[1] for line in lines if line.startswith("Cap")]
        self.report.expect(
            len(capabilities) == 5 and not any(int(c, 16) for c in capabilities), "a job has capabilities"
        )
        self.report.expect("Seccomp:\t2" in shown and "NoNewPrivs:\t1" in shown, "a job runs without seccomp or nnp")
        uid_map = lines[lines.index("== uid_map") + 1].split()
        self.report.expect(int(uid_map[1]) >= 1879048192 and uid_map[2] == "65536", f"uid range {uid_map}")
        links = re.findall(r"^\d+: ([^:@]+)", shown, re.MULTILINE)
        self.report.expect(links == ["lo"], f"a job's network has {links}")
        listing = lines[lines.index("== ls") + 1 : lines.index("== secrets")]
        seen = lines[lines.index("== secrets") + 1 : lines.index("== agent")]
        self.report.expect(not seen, f"a job sees another's secrets: {seen}")
        agent = lines[lines.index("== agent") + 1 : lines.index("== end")]
        self.report.expect(not agent and str(self.stack.dir) not in shown, f"a job sees the agent: {agent} {listing}")

    def _account_desk(self) -> None:
        published, secret, rollback = self.report.published, self.report.secret, self.report.rollback
        self.report.expect(
            published == {"answers": True, "another_port": False, "answers_without_agent": True},
            f"from the store's network: {published}",
        )
        searched = [*evidence.files(self.stack.dir), *evidence.files(self.stack.run_dir)]
        secret["files_searched"] = len(searched)
        told = [path for path in searched if evidence.holds(path, self._key, base64.b64encode(self._key))]
        self.report.expect(self.office / "drone.key" in told, "the search for the secret does not find the secret")
        secret["found_in"] = [str(path) for path in told if path.parent != self.office]
        self.report.expect(not secret["found_in"], f"the secret is in {secret['found_in']}")
        self.report.expect(
            rollback["reason"] == "rolled-back" and rollback["generation"] == 2 and rollback["answers_again"],
            f"the bad update: {rollback}",
        )

    def _account_bill(self) -> None:
        """Recomputed from the records by edgectl, which ends with 1 if a sample, a sum or a signature is wrong."""
        usage = self.report.usage = self.stack.edgectl_json("usage", TARGET, "--verify")["usage"]
        tenants = {row["tenant"] for row in usage if row["chain_valid"] and row["sealed_index"] and not row["faults"]}
        self.report.expect(tenants == {"citycloud", "skylane-drones", "parcelways"}, f"bills that check out: {tenants}")
        file = str(self.office / "bill.jsonl")  # what a tenant is given, and checks with the root certificate alone
        self.stack.edgectl("usage", TARGET, "--tenant", "citycloud", "--export", file)
        root = str(self.stack.dir / "central/operator/root.crt")
        (mine,) = self.stack.edgectl_json("usage", "--from", file, "--ca", root)["usage"]
        self.report.expect(mine["tenant"] == "citycloud" and mine["chain_valid"], f"a bill checked offline: {mine}")
        prepaid = [row for row in usage if row["tenant"] == "skylane-drones"]
        self.report.expect(all(0 < row["spent_micro"] < row["credit_micro"] for row in prepaid), f"spent: {prepaid}")

    def _account_rest(self) -> None:
        telemetry = self.stack.edgectl_json("telemetry", TARGET)
        self.report.telemetry = {"series": len(telemetry["series"]), "points": telemetry["points"]}
        self.report.expect(telemetry["points"] > 0, "no telemetry at central")
        agent = self.report.processes["agent"]
        self.report.expect(agent["uid"] != 0, "the agent runs as root")
        self.report.expect(
            all(int(agent[c], 16) == 0 for c in agent if c.startswith("Cap")), "the agent has capabilities"
        )
        self.report.expect(not self.report.processes["launcher"]["inet_sockets"], "the launcher has an internet socket")

    # --- looking -------------------------------------------------------------------------------

    def _apply(self, text: str) -> None:
        file = self.office / "store.toml"
        file.write_text(text)
        self.stack.edgectl("apply", str(file), "--node", TARGET)

    def _sealing_key(self) -> bool:
        return any(node.get("sealing_key_der_base64") for node in self.stack.edgectl_json("nodes")["nodes"])

    def _desk(self) -> dict[str, Any]:
        job: dict[str, Any] = self._states()["flight-desk"]
        return job

    def _rolled_back(self) -> dict[str, Any] | None:
        events = self.stack.edgectl_json("events", TARGET, "--job", "flight-desk")["events"]
        wanted = [each for each in events if (each["state"], each["reason"]) == ("JOB_STATE_FAILED", "rolled-back")]
        return {name: wanted[0][name] for name in ("generation", "attempt", "reason", "message")} if wanted else None

    def _log(self, job: str) -> str:
        try:
            return self.stack.edgectl("logs", TARGET, job)
        except StackError:  # not started yet
            return ""

    def _states(self) -> dict[str, Any]:
        jobs = self.stack.edgectl_json("jobs", TARGET)["jobs"]
        return {job["id"]: {**job, "state": job["state"].removeprefix("JOB_STATE_").lower()} for job in jobs}

    def _local_jobs(self) -> dict[str, Any]:
        jobs: list[dict[str, Any]] = json.loads(self.stack.agent_cli("jobs", "--json")).get("jobs", [])
        return {job["id"]: job for job in jobs}

    def _batches_done(self) -> bool:
        states = self._states()
        return all(states.get(name, {}).get("state") in ("finished", "failed") for name in EXPECTED)

    def _drained(self) -> bool:
        classes = json.loads(self.stack.agent_cli("spool", "--json"))["classes"]
        # Protobuf's JSON leaves zeros out and writes 64-bit numbers as text.
        return all(int(c.get("records", 0)) == 0 for c in classes if c["record_class"] == "RECORD_CLASS_DEVICE")

    def _pass(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _watch(self) -> None:
        while not self._over.wait(2.0):
            self.show.fact("devices: acknowledged by the broker", len(self.fleet.acknowledged(FLEET)))
            if "central" not in self.stack.parts:
                continue
            try:
                node = self.stack.edgectl_json("node", "show", TARGET)["node"]
            except StackError:
                continue
            for position in node.get("stored", []):
                name = position["record_class"].removeprefix("RECORD_CLASS_").lower()
                self.show.fact(f"central holds: {name}", position["seq"])
            self.show.fact("link", "connected" if node.get("connected") else "[bold red]down[/bold red]")
