"""What an error says to a customer, and what it says to an operator."""

import pickle

from rotary.errors import UnavailableError


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
