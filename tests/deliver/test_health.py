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


def test_a_host_that_fails_again_is_avoided_for_longer_up_to_a_limit() -> None:
    health = Health(120)
    now, waits = 1000.0, []
    for _ in range(6):
        health.failed("", "h", REPLY, now, 120, 1000)
        failure = health.failure("", "h", now)
        assert failure is not None
        waits.append(failure.until - now)
        now = failure.until
    assert waits == [120, 240, 480, 960, 1000, 1000]


def test_paths_that_fail_at_the_same_time_are_one_failure() -> None:
    health = Health(120)
    for late in range(5):
        health.failed("", "h", REPLY, 1000 + late, 120, 1000)
    failure = health.failure("", "h", 1100)
    assert failure is not None and (failure.times, failure.until) == (1, 1124)


def test_a_failure_of_long_ago_makes_no_second_one() -> None:
    health = Health(120)
    health.failed("", "h", REPLY, 1000, 120, 600)
    health.failed("", "h", REPLY, 1120 + 600, 120, 600)
    failure = health.failure("", "h", 1721)
    assert failure is not None and failure.times == 1


def test_success_ends_the_row() -> None:
    health = Health(120)
    health.failed("", "h", REPLY, 1000, 120, 600)
    health.works("", "h")
    health.failed("", "h", REPLY, 1120, 120, 600)
    failure = health.failure("", "h", 1121)
    assert failure is not None and (failure.times, health.avoided(1121)) == (1, 1)


def test_without_growth_when_the_longest_is_no_longer_than_the_first() -> None:
    health = Health(120)
    for now in (1000, 1120, 1240):
        health.failed("", "h", REPLY, now, 120, 0)
        failure = health.failure("", "h", now)
        assert failure is not None and failure.until == now + 120
