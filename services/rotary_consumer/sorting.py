"""From deliveries to one batch a customer, with what must be parked beside them."""

from collections.abc import Iterable

from msgspec import Struct

from rotary.domain.acceptance import Arrived, check_time, window
from rotary.domain.facts import event_ms
from rotary.errors import EventRefusedError
from rotary.events import Event
from rotary.rabbitmq.messages import Message, Refused, open_message, original
from rotary.rabbitmq.ticks import tick_ms
from rotary.rabbitmq.topology import log_of
from rotary.redis.fold import Batch


class Sorted(Struct):
    """The accepted events by customer, what was refused, how many events there were, and the logs that hold them."""

    batches: dict[int, Batch] = {}
    refused: list[Refused] = []
    events: int = 0
    logs: set[str] = set()


class Sorter:
    """Sorts the deliveries of one queue in order, by its ticks keeping track of when they arrived."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self.after_ms = 0
        """What is delivered from here on arrived after this; all that arrived before has been sorted."""

    def sort(self, messages: Iterable[Message], before_ms: int, result: Sorted) -> Sorted:
        """Opens every message into `result`; all of them arrived before `before_ms`, UTC milliseconds."""
        queue, arrived = self._queue, Arrived(self.after_ms, before_ms)
        for message in messages:
            if message.routing_key != queue:
                self._sort_one(message, arrived, result)
            elif (tick := tick_ms(message, queue)) is not None:
                self.after_ms = max(self.after_ms, tick)
                arrived = Arrived(self.after_ms, before_ms)
        return result

    def _sort_one(self, message: Message, arrived: Arrived, result: Sorted) -> None:
        customer, kind, events, refused = open_message(message)
        if refused:
            result.refused.extend(refused)
        if not events:
            return
        batch = result.batches.get(customer)
        if batch is None:
            batch = result.batches[customer] = Batch()
        earliest_ms, latest_ms = window(kind, arrived)
        add = batch.add_at
        for event in events:
            at_ms = event_ms(event)
            if earliest_ms <= at_ms <= latest_ms:
                add(event, at_ms)
            else:
                result.refused.append(_out_of_window(message, event, at_ms, arrived))
        result.events += len(events)
        result.logs.add(log_of(message.routing_key))


def _out_of_window(message: Message, event: Event, at_ms: int, arrived: Arrived) -> Refused:
    try:
        check_time(event, at_ms, arrived)
    except EventRefusedError as error:
        return original(message, event, error.reason)
    raise AssertionError("outside its window and inside it")
