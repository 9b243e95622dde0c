"""edge-agent rules: what a file of rules for devices' messages says, before a reload finds out."""

import argparse
import sys
from pathlib import Path

from agent.errors import ConfigError, RefusedError
from agent.mqtt import topics
from agent.mqtt.rules.compile import RuleSet, compile_rules
from agent.mqtt.rules.judge import Pass, judge
from agent.mqtt.rules.memory import Memory
from agent.mqtt.rules.operators_file import parse, read
from agent.spec import DeviceRule

HELP = "look at a file of rules for devices' messages"


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="rules_verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="name every mistake in a file, one line each")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(handler=run_check)
    attempt = verbs.add_parser("try", help="which rule decides about a message, and what comes out")
    attempt.add_argument("file", type=Path, metavar="FILE")
    attempt.add_argument("topic", metavar="TOPIC")
    attempt.add_argument("payload", nargs="?", default="", metavar="PAYLOAD", help="text; - reads standard input")
    attempt.set_defaults(handler=run_try)


def run_check(args: argparse.Namespace) -> int:
    found = _read(args.file)
    if found is None:
        return 1
    count = len(found.rules)
    print(f"{args.file}: ok, {count} {'rule' if count == 1 else 'rules'}")
    return 0


def run_try(args: argparse.Namespace) -> int:
    found = _read(args.file)
    if found is None:
        return 1
    if topics.parse(args.topic) is None:
        print(f"{args.topic}: no topic of a device: dropped whatever the rules say", file=sys.stderr)
        return 1
    rule = found.find(args.topic)
    if rule is None:
        print("rule: none of this file; central's are asked next\nforwarded: at once, as it is, with priority 5")
        return 0
    payload = sys.stdin.buffer.read() if args.payload == "-" else args.payload.encode()
    print(f"rule: {found.rules.index(rule) + 1} ({rule.spec.filter})")
    answer = judge(rule, args.topic, payload, Memory(), 0.0)
    if not isinstance(answer, Pass):
        print(f"forwarded: no: {answer}")
        return 0
    print(f"forwarded: {_when(rule.spec)}, with priority {rule.spec.priority}{_thinned(rule.spec)}")
    print(f"payload: {'as it is' if answer.payload == payload else answer.payload.decode(errors='replace')}")
    return 0


def _read(path: Path) -> RuleSet | None:
    try:
        path.stat()  # named by a person: it should be there
        return compile_rules(parse(read(path), str(path)))
    except (ConfigError, RefusedError) as why:
        print(why, file=sys.stderr)
    except OSError as why:
        print(f"{path}: can't be read: {why.strerror}", file=sys.stderr)
    return None


def _when(rule: DeviceRule) -> str:
    if rule.latest_seconds:
        return f"only the newest of each {rule.latest_seconds} s"
    if rule.batch_seconds:
        return f"held, and sent together after {rule.batch_seconds} s"
    return "at once"


def _thinned(rule: DeviceRule) -> str:
    """What of later messages of the topic is left."""
    words: list[str] = []
    if rule.dead_band is not None:
        name = f"'{rule.dead_band.field}'" if rule.dead_band.field else "it"
        words.append(f"then when {name} has moved by {rule.dead_band.delta:g}")
    if rule.sample_every > 1:
        words.append(f"then each {rule.sample_every}th")
    if rule.max_per_minute:
        words.append(f"at most {rule.max_per_minute} a minute")
    return "".join(f"; {each}" for each in words)
