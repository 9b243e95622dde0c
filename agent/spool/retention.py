"""Who gives way when the spool is full. Pure.

The order is the design's: tenants' logs, telemetry, devices, events; the bill and the audit trail never.
"""

from collections.abc import Mapping

from agent.model import RecordClass

# First to go first.
DROP_ORDER = (RecordClass.LOG, RecordClass.TELEMETRY, RecordClass.DEVICE, RecordClass.EVENT)
NEVER_DROPPED = frozenset({RecordClass.AUDIT, RecordClass.USAGE})

# New device messages may not push out events, nor logs telemetry: a class makes room only among those that go
# before it and in itself.
_RANK = {record_class: rank for rank, record_class in enumerate(DROP_ORDER)}


def victims(
    need_bytes: int, *, for_class: RecordClass, held_bytes: Mapping[RecordClass, int]
) -> dict[RecordClass, int] | None:
    """How many bytes each class must give so that `need_bytes` come free for a record of `for_class`.

    None when even all that may go is not enough: the record must be refused.
    """
    plan: dict[RecordClass, int] = {}
    for record_class in DROP_ORDER:
        if need_bytes <= 0:
            break
        if for_class not in NEVER_DROPPED and _RANK[record_class] > _RANK[for_class]:
            break
        give = min(need_bytes, held_bytes.get(record_class, 0))
        if give > 0:
            plan[record_class] = give
            need_bytes -= give
    return plan if need_bytes <= 0 else None
