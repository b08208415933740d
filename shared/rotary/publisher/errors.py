"""Errors of publishing. Each carries its events, so that the caller can publish them again."""

from collections import Counter
from collections.abc import Sequence

from rotary.errors import RotaryError
from rotary.events import Event


class PublishError(RotaryError):
    """These events were not confirmed; `reason` says why in one line.

    It is safe to publish `events` again: each keeps its identity, and Rotary counts an identity once.
    """

    def __init__(self, events: Sequence[Event], reason: str) -> None:
        super().__init__(events, reason)
        self.events = tuple(events)
        self.reason = reason

    def __str__(self) -> str:
        count = len(self.events)
        return f"{count} event{'' if count == 1 else 's'} not published: {self.reason}"


class DeadlineError(PublishError):
    """The broker did not confirm in time. It may have stored the events all the same: publish them again."""


class UnroutableError(PublishError):
    """The broker returned the events until the deadline, because no log takes them.

    Start rotary-consumer, which declares the logs. The publisher retries until the deadline, because a log that is
    still starting also returns events for a moment.
    """


class RefusedError(PublishError):
    """The broker refused the login, or this user may not publish for this customer."""


class BacklogFullError(PublishError):
    """The limit of outstanding events is reached, and the caller chose not to wait or cannot wait."""


class ClosedError(PublishError):
    """The publisher is not open: its context is not entered, is left, or was cancelled while leaving."""


def merge_errors(errors: Sequence[PublishError]) -> PublishError:
    """One error with all events: of the shared class if there is one, with each reason once and its count."""
    classes = {type(error) for error in errors}
    error_class = classes.pop() if len(classes) == 1 else PublishError
    events = [event for error in errors for event in error.events]
    counts: Counter[str] = Counter()
    for error in errors:
        counts[error.reason] += len(error.events)
    reasons = list(counts) if len(counts) == 1 else [f"{reason} ({count})" for reason, count in counts.items()]
    return error_class(events, "; ".join(reasons))
