"""The operations of a path: what its methods are, and which operation answers a method."""

from typing import Generic, Protocol, TypeVar


class HasMethod(Protocol):
    """An operation, whatever else a service says of it."""

    @property
    def method(self) -> str:
        """The method that it answers."""


M = TypeVar("M", bound=HasMethod)


class Operations(Generic[M]):
    """A path by its operations. One that answers GET answers HEAD too, and every one answers OPTIONS."""

    __slots__ = ()
    operations: tuple[M, ...]

    @property
    def allowed(self) -> str:
        """The methods, as in Allow."""
        methods = [operation.method for operation in self.operations]
        return ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])

    def operation(self, method: str) -> M:
        """The operation of a method that is allowed."""
        wanted = "GET" if method == "HEAD" else method
        return next(operation for operation in self.operations if operation.method == wanted)
