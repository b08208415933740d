"""What can go wrong with a publish. Each error carries the events it is about, ready to be published again."""

from collections import Counter
from collections.abc import Sequence

from rotary.errors import RotaryError
from rotary.events import Event


class PublishError(RotaryError):
    """These events were not confirmed; `reason` says why in one line.

    Publishing one of `events` again as it is can do no harm: it keeps its identity, and the same identity is the same
    fact however often it arrives.
    """

    def __init__(self, events: Sequence[Event], reason: str) -> None:
        super().__init__(events, reason)
        self.events = tuple(events)
        self.reason = reason

    def __str__(self) -> str:
        count = len(self.events)
        return f"{count} event{'' if count == 1 else 's'} not published: {self.reason}"


class DeadlineError(PublishError):
    """The broker did not confirm in time. It may still have the events, or take them later: publish them again."""


class UnroutableError(PublishError):
    """Until the deadline no log took the events: the broker returned them. Start rotary-consumer, it declares the logs.

    Logs that are still starting return events for a moment too, which is why the publisher tries again until then.
    """


class RefusedError(PublishError):
    """The broker refused the login, or its permissions do not let this user write for this customer."""


class BacklogFullError(PublishError):
    """As many events are outstanding as the limits allow, and the caller asked not to wait, or cannot."""


class ClosedError(PublishError):
    """The publisher is not open: it was not entered yet, has been left, or was interrupted while leaving."""


def merged(errors: Sequence[PublishError]) -> PublishError:
    """One error for all of them: the shared kind if they share one, every event, each reason once with its count."""
    kinds = {type(error) for error in errors}
    kind = kinds.pop() if len(kinds) == 1 else PublishError
    events = [event for error in errors for event in error.events]
    counts: Counter[str] = Counter()
    for error in errors:
        counts[error.reason] += len(error.events)
    reasons = list(counts) if len(counts) == 1 else [f"{reason} ({count})" for reason, count in counts.items()]
    return kind(events, "; ".join(reasons))
