from postroad.deliver.health import STRIKES, Health
from postroad.message import Reply

REPLY = Reply(451, "4.4.1 refused")


def test_a_failed_host_is_avoided_for_a_while() -> None:
    health = Health(120)
    health.failed("", "192.0.2.1", REPLY, 1000)
    failure = health.failure("", "192.0.2.1", 1119)
    assert failure is not None and failure.reply == REPLY and failure.until == 1120
    assert health.failure("", "192.0.2.1", 1120) is None


def test_sources_and_hosts_are_kept_apart() -> None:
    health = Health(120)
    health.failed("192.0.2.9", "192.0.2.1", REPLY, 1000)
    assert health.failure("", "192.0.2.1", 1001) is None
    assert health.failure("192.0.2.9", "192.0.2.2", 1001) is None


def test_a_host_that_answers_has_not_failed() -> None:
    health = Health(120)
    health.failed("", "h", REPLY, 1000)
    health.works("", "h")
    assert health.failure("", "h", 1001) is None


def test_strikes_in_a_row_are_a_failure() -> None:
    health = Health(120)
    for _ in range(STRIKES - 1):
        health.strike("", "h", REPLY, 1000)
    health.serves("", "h")
    for _ in range(STRIKES - 1):
        health.strike("", "h", REPLY, 1000)
    assert health.failure("", "h", 1000) is None
    health.strike("", "h", REPLY, 1000)
    assert health.failure("", "h", 1000) is not None


def test_no_memory_when_hosts_are_not_to_be_avoided() -> None:
    health = Health(0)
    health.failed("", "h", REPLY, 1000)
    assert health.failure("", "h", 1000) is None


def test_memory_is_bounded_and_the_oldest_goes() -> None:
    health = Health(120, limit=10)
    for number in range(50):
        health.failed("", str(number), REPLY, 1000)
        health.strike("", f"s{number}", REPLY, 1000)
    assert [n for n in range(50) if health.failure("", str(n), 1000)] == list(range(40, 50))
