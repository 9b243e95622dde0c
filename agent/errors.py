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


class RefusedError(EdgeError):
    """A request is refused. `reason` is a word of the closed set in docs/PROTOCOL.md."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AwayError(EdgeError):
    """A neighbour (central, launcher, broker) can't be reached at the moment."""


class StorageError(EdgeError):
    """The disk can't take more, or fails."""


class CorruptError(EdgeError):
    """Stored state fails its own check."""
