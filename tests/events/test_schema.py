"""The tables agree with themselves and with the published field lists (api.md 14.2)."""

import pytest

from postroad.events import EVENTS, FIELDS, Kind, check
from postroad.events.schema import Wire

ID = "type event_id timestamp customer_id subaccount_id"
MSG = (
    "message_id campaign_id transmission_id template_id template_version friendly_from msg_from subject rcpt_to"
    " raw_rcpt_to rcpt_hash recipient_domain rcpt_meta rcpt_tags routing_domain sending_ip ip_pool transactional"
    " injection_time scheduled_time"
)
TRK = "open_tracking click_tracking initial_pixel amp_enabled"
AB = "ab_test_id ab_test_version"
RSN = "reason raw_reason error_code"
# Typed from api.md 14.2, not from our tables. device_token (push) is left out; queue_time and AB of a bounce are seen.
PUBLISHED = {
    "injection": f"{ID} {MSG} {TRK} {AB} rcpt_type recv_method msg_size",
    "delivery": f"{ID} {MSG} {TRK} {AB} rcpt_type recv_method delv_method ip_address msg_size num_retries queue_time"
    " outbound_tls",
    "delay": f"{ID} {MSG} {TRK} {AB} {RSN} rcpt_type bounce_class recv_method delv_method ip_address msg_size"
    " num_retries queue_time outbound_tls",
    "bounce": f"{ID} {MSG} {TRK} {AB} {RSN} rcpt_type bounce_class recv_method delv_method ip_address msg_size"
    " num_retries queue_time outbound_tls",
    "policy_rejection": f"{ID} {AB} {RSN} message_id campaign_id transmission_id template_id template_version"
    " friendly_from msg_from rcpt_to raw_rcpt_to rcpt_hash recipient_domain rcpt_meta rcpt_tags rcpt_type bounce_class"
    " recv_method remote_addr sending_ip ip_pool transactional injection_time",
    "generation_failure": f"{ID} {AB} {RSN} campaign_id transmission_id template_id template_version friendly_from"
    " rcpt_to raw_rcpt_to rcpt_hash recipient_domain rcpt_meta rcpt_tags rcpt_subs routing_domain sending_ip ip_pool"
    " recv_method scheduled_time transactional",
}


def test_every_kind_has_a_row() -> None:
    assert [row.kind for row in EVENTS.values()] == list(Kind)


@pytest.mark.parametrize("name", EVENTS)
def test_fields_are_the_published_ones_and_declared_extras(name: str) -> None:
    row = EVENTS[name]
    assert len(set(row.fields)) == len(row.fields)
    assert {field for field in row.fields if not FIELDS[field].extra} == set(PUBLISHED[name].split())
    assert set(row.required) <= set(row.fields)


def test_every_field_is_used_and_its_sample_fits() -> None:
    assert set(FIELDS) == {field for row in EVENTS.values() for field in row.fields}
    for row in EVENTS.values():
        sample = {field: FIELDS[field].sample for field in row.fields} | {"type": row.name}
        assert check(sample) == []


def sample() -> dict[str, object]:
    row = EVENTS["bounce"]
    return {field: FIELDS[field].sample for field in row.fields} | {"type": "bounce"}


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"type": "reception"}, "type: there is no event type 'reception'"),
        ({"msg_size": 5}, "msg_size: must be a string of digits, not 5"),
        ({"msg_size": "-5"}, "msg_size: must be a string of digits, not '-5'"),
        ({"subject": ""}, "subject: without value, so it must be left out"),
        ({"subject": None}, "subject: without value, so it must be left out"),
        ({"subject": 5}, "subject: must be a string, not 5"),
        ({"open_tracking": "1"}, "open_tracking: must be a boolean, not '1'"),
        ({"rcpt_meta": []}, "rcpt_meta: must be a object, not []"),
        ({"rcpt_tags": [1]}, "rcpt_tags: must be a array of strings, not [1]"),
        ({"rcpt_subs": {}}, "rcpt_subs: not a member of bounce"),
        ({"colour": "red"}, "colour: not a member of bounce"),
    ],
)
def test_check_finds_what_is_wrong(change: dict[str, object], finding: str) -> None:
    assert check(sample() | change) == [finding]


def test_check_finds_what_is_missing() -> None:
    event = sample()
    del event["reason"], event["subject"]
    assert check(event) == ["reason: missing in bounce"]


def test_numbers_are_strings_on_the_wire() -> None:
    numbers = "timestamp msg_size num_retries queue_time bounce_class error_code template_version customer_id"
    assert {FIELDS[name].wire for name in numbers.split()} == {Wire.DIGITS}
