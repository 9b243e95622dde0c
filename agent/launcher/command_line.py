"""What edge-launcher is told in words: to serve, to purge, or to print a plan."""

import fcntl
import json
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from agent.launcher import adopt, cgroup, dump, execute, host, image, oci, plan, policy, seccomp
from agent.launcher.firewall import Link
from agent.launcher.image import Images
from agent.launcher.layout import Host, Places
from agent.launcher.protocol import LauncherError
from agent.launcher.request import parse_job
from agent.launcher.runs import Runs
from agent.launcher.server import Server, open_socket, say
from agent.launcher.stock import Stock

_USAGE = """usage: edge-launcher [OPTIONS]              serve the agent (root)
       edge-launcher --purge [OPTIONS]      end every run of --state-dir and remove all that was made for it (root)
       edge-launcher --dry-run FILE [--json] [OPTIONS]   print what starting the JobRequest in FILE would do

  --state-dir DIR   /var/lib/edge-launcher
  --run-dir DIR     /run/edge-launcher (a tmpfs; must be kept while runs live)
  --socket PATH     RUN_DIR/launcher.sock
  --policy FILE     /etc/edge-agent/launcher.toml
  --runtime NAME    auto, crun, runc, runsc or the path of one like them (the policy's)
  --netns PATH      the network namespace of runs' other ends (the launcher's own)
  --cgroup NAME     edge-jobs; a name with a leading / is the path of a cgroup delegated for runs alone
"""


@dataclass(slots=True)
class _Options:
    """argparse would cost a megabyte for these ten."""

    state_dir: str = "/var/lib/edge-launcher"
    run_dir: str = "/run/edge-launcher"
    socket: str = ""
    policy: str = str(policy.DEFAULT_FILE)
    cgroup: str = "edge-jobs"
    runtime: str = ""
    netns: str = ""
    dry_run: str = ""
    json: bool = False
    purge: bool = False

    @property
    def places(self) -> Places:
        return Places(Path(self.state_dir).absolute(), Path(self.run_dir).absolute())


class _UsageError(Exception):
    pass


def _options(words: list[str]) -> _Options:
    options = _Options()
    known = {field.name for field in fields(options)}
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.removeprefix("--").partition("=")
        name = flag.replace("-", "_")
        if not word.startswith("--") or name not in known:
            raise _UsageError(f"unknown option {word}")
        if isinstance(getattr(options, name), bool):
            setattr(options, name, True)
            continue
        value = value if equals else next(rest, "")
        if not value:
            raise _UsageError(f"{word} needs a value")
        setattr(options, name, value)
    return options


def main() -> int:
    """0 done; 1 this machine or a file is wrong; 2 the command line is."""
    words = sys.argv[1:]
    if words in (["--help"], ["-h"]):
        sys.stdout.write(_USAGE)
        return 0
    try:
        options = _options(words)
        if options.dry_run:
            return _dry_run(options)
        return _purge(options) if options.purge else _serve(options)
    except _UsageError as error:
        sys.stderr.write(f"edge-launcher: {error}\n{_USAGE}")
        return 2
    except (policy.PolicyError, LauncherError) as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.filename or 'system'}: {error.strerror}")
        return 1


def _host(options: _Options, rules: policy.Policy) -> Host:
    return host.discover(
        options.places,
        rules,
        cgroup_name=options.cgroup,
        runtime=options.runtime or rules.runtime,
        netns=options.netns,
    )


def _lock(places: Places) -> int:
    """One launcher per state directory; the lock goes with the process. Raises LauncherError(conflict)."""
    places.state_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    fd = os.open(places.lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise LauncherError("conflict", f"a launcher is running on {places.state_dir}; stop it first") from None
    return fd


def _serve(options: _Options) -> int:
    rules = policy.read(Path(options.policy))
    places = options.places
    os.umask(0o022)
    dump.never()
    _lock(places)
    found = _host(options, rules)
    execute.perform(plan.skeleton(places))
    os.chdir(places.run_dir)  # conmon 2.1.6 drops a file named "oom" where it stands
    cgroup.prepare(found.tree)
    profile = seccomp.section(seccomp.read(), found.machine)
    images = Images(found, rules.image_dir, rules.max_image_bytes)
    images.adopt()
    runs = Runs(found, rules, profile, images)
    adopt.adopt(runs, found)
    listener = open_socket(Path(options.socket) if options.socket else places.socket, rules.agent_uid)
    say(f"ready: {found.facts.runtime} {found.facts.runtime_version}, cgroup {found.facts.cgroup} {found.tree.parent}")
    Server(runs, Stock(places, rules, runs.book, images), found.facts, rules.agent_uid).serve(listener)
    return 0


def _rules(options: _Options) -> policy.Policy:
    """Without a file of root's, the usual."""
    file = Path(options.policy)
    return policy.read(file) if file != policy.DEFAULT_FILE or file.exists() else policy.Policy(agent_uid=0)


def _purge(options: _Options) -> int:
    _lock(options.places)
    rules = _rules(options)
    found = _host(options, rules)
    adopt.purge(Runs(found, rules, {}, Images(found, rules.image_dir, rules.max_image_bytes)), found)
    return 0


def _dry_run(options: _Options) -> int:
    rules = _rules(options)
    try:
        raw = json.loads(Path(options.dry_run).read_text())
    except ValueError as error:
        raise LauncherError("bad-request", f"{options.dry_run}: not JSON: {error}") from error
    request = parse_job(raw)
    policy.check(rules, request)
    found = _host(options, rules)
    profile = seccomp.section(seccomp.read(), found.machine)
    root = None
    if request.image != "host":
        images = Images(found, rules.image_dir, rules.max_image_bytes)
        root = oci.Root(image.root(found.places, request.run), images.config(request.image))
    link = None
    if request.network:
        link = Link(request.run, request.tenant, request.job, 0, 1, request.network)
    steps = (
        *plan.skeleton(found.places),
        *plan.create(request, 0, found, profile, link=link, root=root),
        *plan.start(request.run, found),
    )
    sys.stdout.write(plan.as_json(steps) if options.json else plan.as_text(steps))
    return 0
