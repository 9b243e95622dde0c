"""Names that the agent itself has at the broker. Each is the client id too."""

AGENT = "edge-agent"  # the session in bulk
CONTROL = "edge-agent-control"  # the broker's administration: nobody else's words come over it
COMMANDS = "edge-agent-commands"  # commands and their answers, and requests for certificates
RETAINED = "edge-agent-retained"  # takes away what the broker keeps of who has gone
STORE = "store"  # the store's own tools: they see what devices say, and say nothing
JOB_PREFIX = "job:"
