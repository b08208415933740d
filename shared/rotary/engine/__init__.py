"""The SDK for picking a number: an eligible caller ID, below its cap and reserved for one call.

    async with Engine("https://engine.example.com", token) as engine:
        async with engine.pick(3, lead_id="L-991") as pick:
            await dial(pick.number)
            pick.placed()
            await publisher.call_placed(pick.caller_id_id, pick.group_id, "L-991", pick_id=pick.id)

Leaving the inner block releases the pick, unless `pick.placed()` was called. `engine.pick` raises `NothingEligible`,
which says why and when to come again. Dialers without asyncio use `BlockingEngine`, which behaves the same.

`BlockingEngine` needs msgspec alone; `Engine` needs aiohttp: `pip install 'rotary[engine]'`.
"""

from typing import TYPE_CHECKING

from rotary.engine.blocking import BlockingEngine, BlockingPick, BlockingPicks
from rotary.engine.errors import (
    AccessRefusedError,
    EngineClosedError,
    EngineError,
    EngineUnavailableError,
    GroupDisabled,
    GroupNotFoundError,
    IdempotencyConflictError,
    InvalidRequestError,
    NothingEligible,
    PickRefused,
    RateLimitedError,
    UnauthenticatedError,
    UnauthorizedError,
    UnexpectedAnswerError,
)
from rotary.engine.limits import EngineLimits
from rotary.engine.picks import Carrier, PickRequest
from rotary.errors import ConfigurationError

if TYPE_CHECKING:
    from rotary.engine.engine import Engine, Pick, Picks

__all__ = [
    "AccessRefusedError",
    "BlockingEngine",
    "BlockingPick",
    "BlockingPicks",
    "Carrier",
    "ConfigurationError",
    "Engine",
    "EngineClosedError",
    "EngineError",
    "EngineLimits",
    "EngineUnavailableError",
    "GroupDisabled",
    "GroupNotFoundError",
    "IdempotencyConflictError",
    "InvalidRequestError",
    "NothingEligible",
    "Pick",
    "PickRefused",
    "PickRequest",
    "Picks",
    "RateLimitedError",
    "UnauthenticatedError",
    "UnauthorizedError",
    "UnexpectedAnswerError",
]


def __getattr__(name: str) -> object:
    """Imports the asynchronous client when it is first asked for, so that the blocking one works without aiohttp."""
    if name in {"Engine", "Pick", "Picks"}:
        try:
            from rotary.engine import engine  # noqa: PLC0415 - see above
        except ModuleNotFoundError as missing:
            if missing.name != "aiohttp":
                raise
            raise ImportError(f"rotary.engine.{name} needs aiohttp: pip install 'rotary[engine]'") from missing
        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
