"""Full-jitter backoff (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter)."""


def full_jitter(attempt: int, *, base_seconds: float, cap_seconds: float, draw: float) -> float:
    """Seconds to wait before attempt `attempt` (0 = first retry); `draw` is uniform in [0, 1)."""
    return draw * min(cap_seconds, base_seconds * 2.0 ** min(attempt, 32))
