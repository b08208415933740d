"""A queue that is not up yet is no queue that is gone."""

import pytest
from aiormq.exceptions import ChannelNotFoundEntity

from rotary.rabbitmq.connection import is_gone


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ("NOT_FOUND - no queue 'rotary.log.calls.0' in vhost '/'", True),
        (
            "NOT_FOUND - home node 'rotary@localhost' of durable queue 'rotary.q' in vhost '/' is down or inaccessible",
            False,
        ),
        ("NOT_FOUND - queue 'rotary.log.calls.0' in vhost '/' process is stopped by supervisor", False),
    ],
)
def test_only_what_the_broker_does_not_know_is_gone(said: str, *, gone: bool) -> None:
    assert is_gone(ChannelNotFoundEntity(said)) is gone
