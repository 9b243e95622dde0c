"""What samples cost, what a tenant has spent, and the bytes of its month. Pure; integers only.

A price is per hour or per GiB, so a sample rarely costs a whole number of millionths: what is left over is carried to
the tenant's next sample. A bill is therefore exact to one millionth, however many samples it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.model import UsageSample
from agent.spec import JobSpec, Prices, Tenant

_NANO = 1_000_000_000
_GIB = 1 << 30
_HOUR_SECONDS = 3600
# One millionth in the unit that all four products below share: a price x nanosecond x byte.
_WHOLE = _HOUR_SECONDS * _NANO * _GIB


@dataclass(frozen=True, slots=True)
class Spending:
    """Of one tenant on this node."""

    micro: int = 0  # all that was ever spent, in millionths
    carry: int = 0  # the part of a millionth that is not in `micro` yet, in 1/_WHOLE
    month: int = 0  # that the bytes below belong to, see `month_of`
    month_bytes: int = 0  # received and sent
    job_bytes: Mapping[str, int] = field(default_factory=dict[str, int])  # the same by job
    prices: Prices = field(default_factory=Prices)  # that its next sample is counted at


def month_of(unix_seconds: float) -> int:
    """Number of the calendar month in UTC; grows by one each month."""
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    return moment.year * 12 + moment.month - 1


def account(spending: Spending, sample: UsageSample) -> Spending:
    """`spending` with the sample added. Its prices are kept with it: a sample may come before the desired state does.

    A month is begun by the first sample that ends in it. A clock that is set back doesn't reopen the one before: what
    is used then counts in the newest month.
    """
    micro, carry = cost(sample, spending.prices, spending.carry)
    moved = sample.network_receive_bytes + sample.network_transmit_bytes
    month = max(spending.month, month_of(sample.end_unix_nano // _NANO))
    same = month == spending.month
    job_bytes = dict(spending.job_bytes) if same else {}
    if moved:
        job_bytes[sample.job] = job_bytes.get(sample.job, 0) + moved
    return Spending(
        micro=spending.micro + micro,
        carry=carry,
        month=month,
        month_bytes=(spending.month_bytes if same else 0) + moved,
        job_bytes=job_bytes,
        prices=spending.prices,
    )


def cost(sample: UsageSample, prices: Prices, carry: int = 0) -> tuple[int, int]:
    """Whole millionths, and what is to be carried to the next sample; `carry` comes from the one before."""
    hours_of_bytes = sample.memory_byte_seconds * prices.memory_gib_hour_micro
    hours_of_bytes += sample.disk_byte_seconds * prices.disk_gib_hour_micro
    moved = sample.network_receive_bytes + sample.network_transmit_bytes
    return divmod(
        carry
        + sample.cpu_nano * prices.cpu_core_hour_micro * _GIB
        + hours_of_bytes * _NANO
        + moved * prices.network_gib_micro * _HOUR_SECONDS * _NANO,
        _WHOLE,
    )


def exhausted(tenant: Tenant, spending: Spending) -> str:
    """Why the tenant can't pay for more, or nothing while it can."""
    if tenant.budget is None or spending.micro < tenant.budget.credit_micro:
        return ""
    return f"tenant {tenant.id}: spent {spending.micro} of {tenant.budget.credit_micro} millionths paid in"


def network_spent(spec: JobSpec, tenant: Tenant, spending: Spending, month: int) -> str:
    """Why the job gets no more bytes in `month`, or nothing while it does."""
    if spec.network is None:
        return ""
    current = spending.month >= month
    taken, limit = spending.month_bytes if current else 0, tenant.quota.network_bytes_per_month
    if taken >= limit:
        return f"tenant {tenant.id}: network bytes this month (UTC): {taken} of {limit} used"
    taken, limit = spending.job_bytes.get(spec.id, 0) if current else 0, spec.network.bytes_per_month
    if limit and taken >= limit:
        return f"job {spec.id}: network bytes this month (UTC): {taken} of {limit} used"
    return ""
