"""Who gives way when there is no room: none of GUARANTEED where SPOT is enough, then few, then the youngest. Pure."""

from collections.abc import Iterable, Sequence

from agent.jobs.room import NOTHING, Amounts, Capacity, Holder, excess, needs, tenants_excess, total, whole
from agent.spec import JobSpec, Priority


def victims(spec: JobSpec, staying: Sequence[Holder], capacity: Capacity) -> tuple[Holder, ...] | None:
    active = [holder for holder in staying if holder.room]
    need = excess(needs(spec), total(active), whole(capacity))
    if spec.priority is not Priority.STORE:
        need = _most(need, tenants_excess(needs(spec), active, capacity))
    for highest in (Priority.SPOT, Priority.GUARANTEED):
        if highest < spec.priority:
            found = cover(need, youngest(holder for holder in active if holder.spec.priority <= highest))
            if found is not None:
                return found
    return None


def cover(need: Amounts, candidates: Sequence[Holder]) -> tuple[Holder, ...] | None:
    """Few of `candidates` (best first) whose room is at least `need`, and none that isn't needed; None if all can't."""
    rest, chosen, open_need = list(candidates), list[Holder](), need
    while any(open_need):
        scored = [(_share(open_need, needs(holder.spec)), -place) for place, holder in enumerate(rest)]
        if not scored or max(scored)[0] == 0:
            return None
        holder = rest.pop(-max(scored)[1])
        chosen.append(holder)
        open_need = excess(open_need, NOTHING, needs(holder.spec))
    for holder in sorted(chosen, key=lambda one: -candidates.index(one)):
        without = [one for one in chosen if one is not holder]
        if not any(excess(need, NOTHING, total(without))):
            chosen = without
    return tuple(chosen)


def _share(need: Amounts, given: Amounts) -> float:
    return sum(min(n, g) / n for n, g in zip(need, given, strict=True) if n)


def youngest(holders: Iterable[Holder]) -> list[Holder]:
    return sorted(holders, key=lambda holder: (holder.spec.priority, -holder.since, holder.spec.id))


def _most(one: Amounts, other: Amounts) -> Amounts:
    return max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2])
