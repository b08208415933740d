"""What an error says to a customer, and what it says to an operator."""

import pickle

from rotary.errors import EventRefusedError, UnavailableError


def test_an_outage_keeps_its_detail_from_customers() -> None:
    error = UnavailableError("Redis is away", "10.0.0.7:6379: connection refused")
    assert error.public_message == "Redis is away"
    assert error.detail == "10.0.0.7:6379: connection refused"
    assert error.what == str(error) == "Redis is away: 10.0.0.7:6379: connection refused"


def test_a_colon_in_the_public_message_does_not_cut_it() -> None:
    error = UnavailableError("Two servers are away: Redis and Postgres")
    assert (error.public_message, error.detail) == ("Two servers are away: Redis and Postgres", "")


def test_an_outage_can_cross_a_process_border() -> None:
    error = UnavailableError("Redis is away", "timeout")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_refused_event_keeps_its_code_apart_from_the_detail() -> None:
    error = EventRefusedError("1000001 bytes: the limit is 1000000", "too_large")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.detail) == ("too_large", "1000001 bytes: the limit is 1000000")
    assert copy.reason == str(copy) == "too_large: 1000001 bytes: the limit is 1000000"


def test_an_event_refused_before_publishing_has_no_code() -> None:
    error = EventRefusedError("the column id is missing")
    assert (error.code, str(error)) == ("", "the column id is missing")
