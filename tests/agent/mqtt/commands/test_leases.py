"""One commands a device at a time, and the store before all."""

from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.commands.leases import LEASE_SECONDS, STORE, Leases


def test_the_first_has_it_until_ten_seconds_after_its_last_command():
    leases = Leases()
    assert leases.take("d", "acme", 0.0) is None
    assert leases.take("d", "acme", 9.0) is None
    refusal = leases.take("d", "other", 9.0 + LEASE_SECONDS - 0.1)
    assert refusal is not None
    assert "another tenant" in refusal
    assert "acme" not in refusal
    assert leases.take("d", "other", 9.0 + LEASE_SECONDS) is None


def test_the_store_takes_it_over_and_nobody_takes_it_from_the_store():
    leases = Leases()
    assert leases.take("d", "acme", 0.0) is None
    assert leases.take("d", STORE, 1.0) is None
    refusal = leases.take("d", "acme", 2.0)
    assert refusal is not None
    assert "the store" in refusal


def test_another_device_is_another_lease():
    leases = Leases()
    assert leases.take("d", "acme", 0.0) is None
    assert leases.take("e", "other", 0.0) is None


def test_leases_are_bounded_and_a_full_table_refuses_tenants_only():
    leases = Leases(limit=2)
    assert leases.take("a", "acme", 0.0) is None
    assert leases.take("b", "acme", 1.0) is None
    assert leases.take("c", "acme", 2.0) is not None
    assert leases.take("c", STORE, 2.0) is None
    assert leases.take("b", "other", 2.0) is not None  # the oldest gave way, not this one
    assert len(leases._leases) == 2


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["acme", "other", STORE]), st.floats(0, 6))))
def test_no_tenant_is_admitted_while_another_holds_the_device(steps):
    leases, now, held = Leases(), 0.0, {}
    for device, who, passes in steps:
        now += passes
        holder, until = held.get(device, (who, now))
        taken = leases.take(device, who, now) is None
        assert taken == (who == STORE or holder == who or now >= until)
        if taken:
            held[device] = (who, now + LEASE_SECONDS)
