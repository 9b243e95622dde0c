"""Where the node's key is: locked by this machine's TPM, or a file that whoever has the disk can read."""

from agent.cli.checks.finding import Box, Finding
from agent.errors import EdgeError
from agent.identity import lock, store

NAME = "key"


def check(box: Box) -> Finding:
    try:
        locked = store.is_locked(store.look(box.config.node.state_dir))
    except EdgeError:
        return Finding("ok", "none before this box is enrolled")
    has_tpm = (box.root / lock.TPM.relative_to("/")).exists()
    if locked and box.lock_opens is False:
        remedy = "does this disk belong to this machine? else: edge-agent enrol --force with a new token"
        return Finding(
            "fail", "locked by another machine's TPM, or this one was cleared: the agent can't start", remedy
        )
    if locked:
        return Finding("ok", "locked by this machine's TPM")
    if has_tpm:
        remedy = "is libtss2-esys-3.0.2-0 installed? then: edge-agent enrol --force with a new token"
        return Finding(
            "warn", "a file (0600), though this machine has a TPM: whoever takes the disk is this node", remedy
        )
    return Finding("ok", "a file (0600): this machine has no TPM, whoever takes the disk is this node")
