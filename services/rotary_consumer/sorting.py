"""From deliveries to one batch a customer, with what must be parked beside them."""

from collections.abc import Iterable

from msgspec import Struct

from rotary.domain.acceptance import Arrived
from rotary.rabbitmq.messages import Message, Refused, open_message
from rotary.rabbitmq.ticks import tick_ms
from rotary.rabbitmq.topology import log_of
from rotary.redis.fold import Batch


class Sorted(Struct):
    """The accepted events by customer, what was refused, how many events there were, and the logs that hold them."""

    batches: dict[int, Batch]
    refused: list[Refused]
    events: int
    logs: set[str]


class Sorter:
    """Sorts the deliveries of one queue in order, by its ticks keeping track of when they arrived."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self.after_ms = 0
        """What is delivered from here on arrived after this; all that arrived before has been sorted."""

    def sort(self, messages: Iterable[Message], before_ms: int) -> Sorted:
        """Opens every message; all of them arrived before `before_ms`, UTC milliseconds."""
        result = Sorted({}, [], 0, set())
        for message in messages:
            tick = tick_ms(message, self._queue)
            if tick is None:
                self._sort_one(message, Arrived(self.after_ms, before_ms), result)
            else:
                self.after_ms = max(self.after_ms, tick)
        return result

    def _sort_one(self, message: Message, arrived: Arrived, result: Sorted) -> None:
        customer, events, refused = open_message(message, arrived)
        result.refused.extend(refused)
        if events:
            result.logs.add(log_of(message.routing_key))
            result.events += len(events)
            batch = result.batches.get(customer)
            if batch is None:
                batch = result.batches[customer] = Batch()
            for event, at_ms in events:
                batch.add_at(event, at_ms)
