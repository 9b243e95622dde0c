"""A fleet's certificates for tests, from central's real certificate authority, at any time one likes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509

from agent.identity import keys, store
from agent.identity.store import Identity
from central.authority import Authority, der, key_pem, make_issuing, make_root, pem
from central.csr import public_key
from central.names import NodeName

DOMAIN = "shop.example"
NODE_ID = f"spiffe://{DOMAIN}/store/s1/node/n1"
CENTRAL_ID = f"spiffe://{DOMAIN}/central"


def now() -> datetime:
    return datetime.now(UTC)


class Fleet:
    def __init__(self, domain: str = DOMAIN) -> None:
        root = make_root(domain, now())
        self.authority = Authority(root.certificate, make_issuing(domain, root, now()))
        self.bundle = [der(self.authority.root)]

    def certify(self, csr_der: bytes, *, node: str = "n1", age: timedelta = timedelta()) -> list[bytes]:
        """The chain for a node's request, as if issued `age` ago."""
        key = x509.load_der_x509_csr(csr_der).public_key()
        return list(self.authority.issue_node(NodeName("s1", node), key, now() - age).chain_der)  # type: ignore[arg-type] # EC

    async def identity(
        self,
        state_dir: Path,
        address: str = "127.0.0.1:1",
        *,
        age: timedelta = timedelta(),
        trust: "Fleet | None" = None,
        central_id: str = CENTRAL_ID,
    ) -> Identity:
        """A node's identity on disk; `trust` is the fleet whose central it believes in, when it isn't its own."""
        with store.staging(state_dir) as staged:
            csr = await keys.make(staged / "key.pem", NODE_ID)
            assert public_key(csr, NODE_ID)
            chain = self.certify(csr, age=age)
            facts = await keys.check(staged / "key.pem", chain, self.bundle)
            return store.install(
                state_dir,
                staged,
                facts,
                chain_der=chain,
                bundle_der=(trust or self).bundle,
                control_address=address,
                central_spiffe_id=central_id,
            )

    def server_credentials(self, *, client_certificate: bool = True) -> grpc.ServerCredentials:
        """Central's: leaf, issuing CA and root are presented."""
        pair = self.authority.issue_server(now())
        chain = pem(pair.certificate, self.authority.issuing.certificate, self.authority.root)
        root = pem(self.authority.root) if client_certificate else None
        return grpc.ssl_server_credentials([(key_pem(pair.key), chain)], root, client_certificate)
