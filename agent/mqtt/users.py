"""Names that the agent itself has at the broker. Each is the client id too."""

AGENT = "edge-agent"  # the session in bulk
CONTROL = "edge-agent-control"  # commands, and the broker's administration
STORE = "store"  # the store's own tools: they see what devices say, and say nothing
JOB_PREFIX = "job:"
