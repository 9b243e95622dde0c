from hypothesis import given
from hypothesis import strategies as st

from agent import model, spec
from agent.jobs import budget, metering
from central.bill import ZERO_HASH, Bill, canonical, chain_hash, seal_text
from storeedge.v1.desired_pb2 import Prices
from storeedge.v1.record_pb2 import ChainHead, UsageSample, UsageSeal


def sample(index: int, cpu: int = 5) -> UsageSample:
    return UsageSample(
        tenant="citycloud",
        job="thumbnails",
        generation=1,
        attempt=1,
        start_unix_nano=10,
        end_unix_nano=20,
        cpu_nano=cpu,
        memory_byte_seconds=7,
        wall_nano=10,
        chain_index=index,
    )


def test_the_worked_example_of_the_document_holds() -> None:
    assert canonical(sample(1)) == b"citycloud\nthumbnails\n1\n1\n10\n20\n5\n7\n10\n0\n0\n0\n1"
    # (head -c 32 /dev/zero; printf 'citycloud\\nthumbnails\\n1\\n1\\n10\\n20\\n5\\n7\\n10\\n0\\n0\\n0\\n1') | sha256sum
    assert chain_hash(ZERO_HASH, sample(1)).hex() == "48bc2fd50e56cf2dbc1d35eb383becf37bd34763091be41d70aed95bf919cbf6"


def test_a_seal_signs_the_newest_link_of_each_tenant_by_name() -> None:
    links = (("skylane", 7), ("citycloud", 2))
    heads = [ChainHead(tenant=t, chain_index=i, chain_hash=bytes([i]) * 32) for t, i in links]
    expected = f"storeedge-usage-seal-v1\ncitycloud\n2\n{'02' * 32}\nskylane\n7\n{'07' * 32}\n"
    assert seal_text(UsageSeal(heads=heads)) == expected.encode()


def test_a_bill_adds_up_every_figure() -> None:
    one = UsageSample(cpu_nano=1, memory_byte_seconds=2, disk_byte_seconds=3, network_receive_bytes=4)
    one.network_transmit_bytes, one.wall_nano = 5, 6
    assert Bill().plus(one).plus(one) == Bill(2, 4, 6, 8, 10, 12, 2)


def test_a_price_is_for_whole_hours_and_gibibytes_and_is_rounded_down_once() -> None:
    prices = Prices(
        cpu_core_hour_micro=20_000, memory_gib_hour_micro=5_000, disk_gib_hour_micro=100, network_gib_micro=50_000
    )
    hour, gib = 3600 * 10**9, 1 << 30
    assert Bill(cpu_nano=hour).cost_micro(prices) == 20_000
    assert Bill(memory_byte_seconds=3600 * gib).cost_micro(prices) == 5_000
    assert Bill(disk_byte_seconds=3600 * gib).cost_micro(prices) == 100
    assert Bill(network_receive_bytes=gib // 2, network_transmit_bytes=gib // 2).cost_micro(prices) == 50_000
    assert Bill(cpu_nano=hour // 2, disk_byte_seconds=3599 * gib).cost_micro(prices) == 10_099
    assert Bill(cpu_nano=hour).cost_micro(Prices()) == 0


FIGURE = st.integers(0, (1 << 40) - 1)
PRICE = st.integers(0, 10**9)


@given(st.lists(st.tuples(FIGURE, FIGURE, FIGURE, FIGURE, FIGURE), max_size=5), st.tuples(PRICE, PRICE, PRICE, PRICE))
def test_node_and_central_come_to_the_same_money_to_the_millionth(
    windows: list[tuple[int, int, int, int, int]], prices: tuple[int, int, int, int]
) -> None:
    total, spent, carry = Bill(), 0, 0
    for index, (cpu, memory, disk, down, up) in enumerate(windows, 1):
        one = model.UsageSample("t", "j", 1, 1, 0, 1, cpu, memory, 1, down, up, disk, index)
        more, carry = budget.cost(one, spec.Prices(*prices), carry)
        spent += more
        total = total.plus(
            UsageSample(
                cpu_nano=cpu,
                memory_byte_seconds=memory,
                disk_byte_seconds=disk,
                network_receive_bytes=down,
                network_transmit_bytes=up,
            )
        )
    names = ("cpu_core_hour_micro", "memory_gib_hour_micro", "disk_gib_hour_micro", "network_gib_micro")
    assert total.cost_micro(Prices(**dict(zip(names, prices, strict=True)))) == spent


def test_node_and_central_hash_and_seal_the_same_text() -> None:
    mine = sample(1)
    theirs = model.UsageSample("citycloud", "thumbnails", 1, 1, 10, 20, 5, 7, 10, chain_index=1)
    assert chain_hash(ZERO_HASH, mine) == metering.chain_hash(ZERO_HASH, theirs)
    links = [model.ChainLink("b", 2, bytes(32)), model.ChainLink("a", 1, b"\x01" * 32)]
    heads = [ChainHead(tenant=x.tenant, chain_index=x.chain_index, chain_hash=x.chain_hash) for x in links]
    assert seal_text(UsageSeal(heads=heads)) == metering.seal_text(links)
