from central.handshakes import Brake, Failure, Lines

# As grpcio 1.85.1 writes them; tests/integration/test_central_refusals.py has the real ones.
ENTRY = """\
I1122 18:24:37.354653    7768 ssl_transport_security.cc:2563] Handshake failed with error SSL_ERROR_SSL: \
error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired
I1122 18:24:37.354739    7768 handshaker.cc:155] CallNextHandshakerLocked: error=UNKNOWN: Ssl handshake failed \
(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d: certificate has expired: OK
=== Source Location Trace: ===
src/core/util/status_helper.cc:68
 shutdown=false index=2, args={endpoint=0x7facf8001c40, args={grpc.internal.endpoint_local_address=ipv4:127.0.0.1:1, \
grpc.internal.endpoint_peer_address=ipv4:10.0.0.7:46934, grpc.resource_quota=0xec4fa30}, exit_early=0}
I1122 18:24:37.354778    7768 channel_trace.h:396] handshake manager 0x7facf80146b0: Failed with error: UNKNOWN
=== Source Location Trace: ===
src/core/util/status_helper.cc:68

"""


def test_an_entry_of_several_lines_becomes_one_failure_and_none_of_it_goes_on() -> None:
    lines = Lines()
    answers = [lines.feed(line) for line in ENTRY.splitlines(keepends=True)]
    assert not any(goes_on for goes_on, _ in answers)
    assert [failure for _, failure in answers if failure] == [
        Failure(
            "ipv4:10.0.0.7:46934",
            "ipv4:127.0.0.1:1",
            "CERTIFICATE_EXPIRED",
            "SSL_ERROR_SSL: error:1000007d: certificate has expired",
        )
    ]


def test_other_lines_go_on_also_between_the_parts_of_an_entry() -> None:
    lines, found = Lines(), []
    for line in ENTRY.splitlines(keepends=True):
        assert lines.feed("2026-11-22 INFO central: ready\n") == (True, None)
        found += [failure for failure in [lines.feed(line)[1]] if failure]
    assert len(found) == 1


def test_a_handshake_that_goes_well_says_nothing() -> None:
    line = (
        "I1122 1 handshaker.cc:155] CallNextHandshakerLocked: error=OK shutdown=false, endpoint_peer_address=ipv4:1\n"
    )
    assert Lines().feed(line) == (False, None)


def test_a_flood_is_braked_and_counted() -> None:
    brake = Brake(burst=3, per_second=1.0, tokens=3.0)
    assert [brake.passes(10.0) for _ in range(5)] == [True, True, True, False, False]
    assert brake.suppressed == 2
    assert brake.passes(11.0) and not brake.passes(11.5)
