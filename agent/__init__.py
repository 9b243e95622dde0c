"""The store edge agent. Empty on purpose: the launcher imports this package and must stay small."""
