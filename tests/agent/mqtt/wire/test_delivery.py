"""What came, as a tuple."""

from agent.mqtt.wire.delivery import Delivery


def test_a_delivery_without_properties_has_none_and_no_end() -> None:
    found = Delivery("t", b"p", 1, False, False, 7)
    assert (found.content_type, found.user_properties, found.correlation_data, found.response_topic) == (
        "",
        (),
        b"",
        "",
    )
    assert found.expiry_seconds is None
