"""Everything that can go wrong on purpose, sorted by what the caller does about it.

EdgeError
├── ConfigError     a person must mend a file: stop the start
├── RefusedError    the caller asked for something it can't have: answer it, go on
├── AwayError       a neighbour isn't there now: back off and try again
├── StorageError    the disk is full or failing: degrade, keep what is there
└── CorruptError    what is on disk is not what was written: set it aside, say so
"""


class EdgeError(Exception):
    """Root of the tree. Its text is for people and names the remedy where there is one."""


class ConfigError(EdgeError):
    """A configuration file is wrong."""


# Why a request is refused, with its canonical code (google.rpc.Code). Closed: docs/PROTOCOL.md lists the same words.
REASONS = {
    "BAD_REQUEST": 3,  # INVALID_ARGUMENT: the message names the field and what it takes
    "DEADLINE": 4,  # DEADLINE_EXCEEDED
    "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "NO_ROOM": 8,  # RESOURCE_EXHAUSTED: a limit, named in the message
    "CONFLICT": 9,  # FAILED_PRECONDITION: not in this state
    "LEASED": 10,  # ABORTED: another commands this device now; try again
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "AWAY": 14,  # UNAVAILABLE: try again later
}


class RefusedError(EdgeError):
    """A request is refused. `reason` is a key of REASONS."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = REASONS[reason]


class AwayError(EdgeError):
    """A neighbour (central, launcher, broker) can't be reached at the moment."""


class StorageError(EdgeError):
    """The disk can't take more, or fails."""


class CorruptError(EdgeError):
    """Stored state fails its own check."""
