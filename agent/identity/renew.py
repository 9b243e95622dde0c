"""A new certificate long before the old one ends."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.errors import RefusedError
from agent.identity import keys, store
from agent.identity.store import Identity

# Sends a CSR (DER) to central; answers with the chain, leaf first, and the bundle, both DER.
Call = Callable[[bytes], Awaitable[tuple[list[bytes], list[bytes]]]]


def due(not_before_unix_nano: int, not_after_unix_nano: int, now_unix_nano: int, draw: float) -> bool:
    """From 40..60 % of the certificate's life on; `draw`, uniform in [0, 1), spreads the fleet.

    Of 30 days at least 12 are left to be without central.
    """
    life = not_after_unix_nano - not_before_unix_nano
    return now_unix_nano - not_before_unix_nano >= life * (0.4 + 0.2 * draw)


async def renew(state_dir: Path, identity: Identity, call: Call) -> Identity:
    """A new key and a certificate for the same node, in force and durable on return; the old one is kept as previous.

    Raises RefusedError (central's answer is no use), AwayError, StorageError, and what `call` raises: nothing changed.
    """
    with store.staging(state_dir) as staged:
        chain_der, bundle_der = await call(await keys.make(staged / "key.pem", identity.spiffe_id, identity.secret))
        facts = await keys.check(staged / "key.pem", chain_der, bundle_der, identity.secret)
        if facts.uris != (identity.spiffe_id,):
            raise RefusedError("BAD_REQUEST", f"the certificate is for {facts.uris}, not for {identity.spiffe_id}")
        return await asyncio.to_thread(  # a locked key is opened by a process, which takes a moment
            store.install,
            state_dir,
            staged,
            facts,
            chain_der=chain_der,
            bundle_der=bundle_der,
            control_address=identity.control_address,
            central_spiffe_id=identity.central_spiffe_id,
            secret=identity.secret,
        )
