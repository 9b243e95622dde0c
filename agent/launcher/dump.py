"""What is in this process's memory stays there: no core dump of it, no tracing by its own user."""

import resource

_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def never() -> None:
    """By the limit, which children inherit. At 1, not 0, a core_pattern that is a program gets none either (oci.py).

    Raises ValueError when a hard limit of 0 was set for this process.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def not_even_piped() -> None:
    """Whatever the limit is: the process can't be dumped at all, nor be looked into.

    From the first secret on: it takes the C library. Raises OSError.
    """
    import ctypes  # noqa: PLC0415 0.7 MB that a launcher without secrets never needs

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
