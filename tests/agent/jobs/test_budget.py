"""What samples cost, to the millionth; what a month has moved; and when a tenant is done."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.budget import Spending, account, cost, exhausted, month_of, network_spent
from agent.model import UsageSample
from agent.spec import Budget, Network, Prices, Quota, Tenant
from tests.fakes.jobs import batch

SECOND, HOUR, GIB = 1_000_000_000, 3600, 1 << 30
PRICES = Prices(1_000_000, 200_000, 10_000, 50_000)
NOVEMBER = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp())
DECEMBER = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())


def sample(at=NOVEMBER, cpu=0, memory=0, disk=0, received=0, sent=0, job="b"):
    return UsageSample("acme", job, 1, 1, 0, at * SECOND, cpu, memory, 0, received, sent, disk)


@pytest.mark.parametrize(
    ("used", "micro"),
    [
        (sample(cpu=HOUR * SECOND), 1_000_000),
        (sample(memory=HOUR * GIB), 200_000),
        (sample(disk=2 * HOUR * GIB), 20_000),
        (sample(received=GIB // 2, sent=GIB // 2), 50_000),
        (sample(), 0),
    ],
)
def test_each_resource_has_its_price(used, micro) -> None:
    assert cost(used, PRICES) == (micro, 0)


USED = st.builds(
    sample, cpu=st.integers(0, 10**13), memory=st.integers(0, 10**13), disk=st.integers(0, 10**13),
    received=st.integers(0, 10**10), sent=st.integers(0, 10**10),
)  # fmt: skip
PRICED = st.builds(Prices, *[st.integers(0, 10**9)] * 4)


@given(st.lists(USED, max_size=20), PRICED)
def test_many_samples_cost_what_they_cost_together_to_one_millionth(samples, prices) -> None:
    spending = Spending(prices=prices)
    for used in samples:
        before = spending
        spending = account(spending, used)
        assert spending.micro >= before.micro
    exact = sum(
        (
            Fraction(s.cpu_nano * prices.cpu_core_hour_micro, HOUR * SECOND)
            + Fraction(s.memory_byte_seconds * prices.memory_gib_hour_micro, HOUR * GIB)
            + Fraction(s.disk_byte_seconds * prices.disk_gib_hour_micro, HOUR * GIB)
            + Fraction((s.network_receive_bytes + s.network_transmit_bytes) * prices.network_gib_micro, GIB)
            for s in samples
        ),
        start=Fraction(0),
    )
    assert 0 <= exact - spending.micro < 1


def test_a_month_counts_its_own_bytes_by_tenant_and_by_job() -> None:
    spending = account(Spending(), sample(received=3, sent=4))
    spending = account(spending, sample(received=5, job="c"))
    assert (spending.month_bytes, spending.job_bytes) == (12, {"b": 7, "c": 5})
    spending = account(spending, sample(DECEMBER, received=1))
    assert (spending.month, spending.month_bytes, spending.job_bytes) == (month_of(DECEMBER), 1, {"b": 1})


def test_a_clock_that_is_set_back_does_not_reopen_a_month() -> None:
    spending = account(Spending(), sample(DECEMBER, received=9))
    spending = account(spending, sample(NOVEMBER, received=2))
    assert (spending.month, spending.month_bytes) == (month_of(DECEMBER), 11)
    spec, tenant = batch(network=Network()), Tenant("acme", quota=Quota(network_bytes_per_month=10))
    assert network_spent(spec, tenant, spending, month_of(NOVEMBER))


def test_months_follow_each_other_over_the_year() -> None:
    assert month_of(DECEMBER + 31 * 86400) == month_of(DECEMBER) + 1 == month_of(NOVEMBER) + 2


def test_prices_are_kept_with_what_was_spent() -> None:
    used = sample(cpu=HOUR * SECOND)
    spending = account(account(Spending(prices=PRICES), used), used)
    assert (spending.micro, spending.prices) == (2_000_000, PRICES)
    assert account(Spending(), used).micro == 0


def test_a_tenant_is_done_when_all_it_paid_is_spent_and_says_how_much_that_was() -> None:
    tenant = Tenant("acme", budget=Budget(100, PRICES))
    assert exhausted(tenant, Spending(99)) == ""
    assert exhausted(tenant, Spending(100)) == "tenant acme: spent 100 of 100 millionths paid in"
    assert exhausted(replace(tenant, budget=None), Spending(10**12)) == ""


def test_network_ends_with_the_tenants_month_or_the_jobs_own() -> None:
    tenant = Tenant("acme", quota=Quota(network_bytes_per_month=100))
    month = month_of(NOVEMBER)
    spending = Spending(month=month, month_bytes=60, job_bytes={"b": 40})
    free, bound = batch(network=Network()), batch(network=Network(bytes_per_month=40))
    assert network_spent(free, tenant, spending, month) == ""
    assert network_spent(bound, tenant, spending, month) == "job b: network bytes this month (UTC): 40 of 40 used"
    assert "100 of 100" in network_spent(free, tenant, replace(spending, month_bytes=100), month)
    assert network_spent(bound, tenant, spending, month + 1) == ""
    assert network_spent(batch(), Tenant("acme"), spending, month) == ""
    assert network_spent(free, Tenant("acme"), Spending(), month)  # no bytes at all
