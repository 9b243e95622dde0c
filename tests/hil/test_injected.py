"""What is done to a board is in its test's report, and in no other's."""

from hil import injected


def test_what_is_noted_inside_is_collected_with_its_time() -> None:
    injected.note("before")
    with injected.collected() as lines:
        injected.note("power cut")
    injected.note("after")
    (line,) = lines
    assert line == "0.0 s: power cut"
