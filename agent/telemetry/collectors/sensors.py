"""How sensors are named."""

from collections.abc import Iterator, Mapping, Sequence


def named(chips: Mapping[str, Sequence[tuple[str, float]]]) -> Iterator[tuple[str, float]]:
    """(hw.id, value) of each sensor of each chip, from (label, value) by chip.

    Two chips of a kind (two NVMe disks) repeat their labels: the second gets "#2". A sensor without a label is
    called by its place.
    """
    for chip, readings in chips.items():
        seen: dict[str, int] = {}
        for place, (label, value) in enumerate(readings, start=1):
            name = label or str(place)
            seen[name] = seen.get(name, 0) + 1
            yield f"{chip}/{name}" if seen[name] == 1 else f"{chip}/{name}#{seen[name]}", value
