"""Value templates of Home Assistant: the common forms, as a path into the payload. Pure; nothing is evaluated."""

import re

from agent.mqtt.registry.readings import Path

MAX_TEMPLATE_CHARS = 256
MAX_STEPS = 8

# One step, or one filter, after the other: no expression here can match the same text in two ways.
_HEAD = re.compile(r"\{\{-?\s*value(_json)?(?![A-Za-z0-9_])")
_STEP = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_]*)|\[\s*(?:'([^'\\]+)'|"([^"\\]+)"|([0-9]{1,4}))\s*\]""")
_FILTER = re.compile(r"\s*\|\s*(?:float|int|round)(?:\([^()]*\))?")
_TAIL = re.compile(r"\s*-?\}\}")


class _Unreadable:
    """Stands for a template that is none of the common forms."""


UNREADABLE = _Unreadable()


def path(template: str) -> Path | _Unreadable | None:
    """`{{ value }}` is None, the whole payload; `{{ value_json.a['b'][0] | float }}` is ("a", "b", 0)."""
    text = template.strip()
    head = _HEAD.match(text) if len(text) <= MAX_TEMPLATE_CHARS else None
    if head is None:
        return UNREADABLE
    at = head.end()
    steps: list[str | int] = []
    while head.group(1) and (step := _STEP.match(text, at)):
        number = step.group(4)
        steps.append(int(number) if number else step.group(1) or step.group(2) or step.group(3))
        at = step.end()
    while found := _FILTER.match(text, at):
        at = found.end()
    tail = _TAIL.match(text, at)
    if tail is None or tail.end() != len(text) or len(steps) > MAX_STEPS:
        return UNREADABLE
    return tuple(steps) if head.group(1) else None
