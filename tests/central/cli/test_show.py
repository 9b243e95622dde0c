from central.cli import show
from storeedge.v1.agent_pb2 import Job, ListJobsResponse, LogLine
from storeedge.v1.record_pb2 import DeviceMessage


def test_json_has_every_field_and_bytes_twice() -> None:
    plain = show.plain(DeviceMessage(device="d", payload=b"\xff", correlation_data=b"ok"))
    assert (plain["payload"], plain["payload_base64"]) == (None, "/w==")
    assert (plain["correlation_data"], plain["correlation_data_base64"]) == ("ok", "b2s=")
    assert plain["qos"] == 0 and plain["user_properties"] == []


def test_a_value_that_is_unset_is_left_out_and_zero_is_not() -> None:
    assert "exit_code" not in show.plain(Job(id="j"))
    (job,) = show.plain(ListJobsResponse(jobs=[Job(id="j", exit_code=0, state=3)]))["jobs"]
    assert (job["exit_code"], job["state"]) == (0, "JOB_STATE_RUNNING")


def test_what_a_tenant_writes_reaches_the_terminal_as_text_only() -> None:
    assert show.text(LogLine(text="é \x1b[2J\a".encode()).text) == "é \\x1b[2J\\x07"
