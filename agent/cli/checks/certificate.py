"""Whether this box is enrolled, and how long its certificate is good for."""

from agent.cli.checks.finding import Box, Finding
from agent.errors import EdgeError
from agent.identity import store

NAME = "certificate"

_DAY_NANO = 86_400 * 10**9
_WARN_DAYS = 5  # the agent renews long before; so few are left only when central is away or refuses


def check(box: Box) -> Finding:
    try:
        identity = store.look(box.config.node.state_dir)
    except EdgeError as error:
        return Finding("fail", str(error), "edge-agent enrol --central HOST:PORT --token TOKEN")
    now = box.clock.wall_nano()
    days = (identity.not_after_unix_nano - now) / _DAY_NANO
    if days <= 0:
        remedy = "is the clock right? else: edge-agent enrol --force with a new token"
        return Finding("fail", f"{identity.spiffe_id}: expired {-days:.1f} days ago", remedy)
    if now < identity.not_before_unix_nano:
        return Finding("fail", f"{identity.spiffe_id}: not valid yet", "the clock is behind: timedatectl")
    if days < _WARN_DAYS:
        remedy = "it is renewed as soon as central is reached: see the line of central"
        return Finding("warn", f"{identity.spiffe_id}: {days:.1f} days left", remedy)
    return Finding("ok", f"{identity.spiffe_id}: {days:.0f} days left")
