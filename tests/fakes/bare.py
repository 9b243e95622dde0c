"""A jobs service with nothing around it: no images, no secrets, no identity."""

from agent.clock import system_clock
from agent.errors import RefusedError
from agent.jobs.runner import JobsService


class NoImages:
    async def fetch(self, reference, progress):
        raise RefusedError("NOT_FOUND", f"no image {reference}")


async def no_secrets(tenant, job, secrets):
    if secrets:
        raise RefusedError("NOT_FOUND", "no secrets here")
    return {}


async def sign(text):
    return b"certificate", b"signature"


def jobs_service(config, directory, sandbox, record, *, images=None, unseal=no_secrets, clock=None, broker=None):
    return JobsService(
        config, directory, sandbox, record, clock or system_clock(),
        images=images or NoImages(), unseal=unseal, sign=sign, node_name="store-7", broker=broker,
    )  # fmt: skip
