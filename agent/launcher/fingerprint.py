"""What a request is known by without a word of it being kept: a secret may be in it. Pure."""

import json
from _blake2 import blake2b  # hashlib would load OpenSSL: 3 MB of a process that has 12
from dataclasses import replace

from agent.launcher.protocol import JobRequest, Reach, to_json


def fingerprint(request: JobRequest, key: bytes) -> str:
    """Equal for requests that make the same sandbox; what it may reach can change at any time and isn't in it."""
    network = request.network
    fixed = replace(request, network=replace(network, reach=Reach())) if network else request
    return blake2b(json.dumps(to_json(fixed), sort_keys=True).encode(), key=key, digest_size=32).hexdigest()
