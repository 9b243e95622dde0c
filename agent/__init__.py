"""The store edge agent. Nothing but its version here: the launcher imports this package and must stay small."""

__version__ = "0.1.0"
