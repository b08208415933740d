"""Loopback ports that stay reserved, whether or not a server listens on them."""

import socket


class Ports:
    """Reserves ports on 127.0.0.1 by binding them without listening.

    With SO_REUSEADDR on both sides Linux lets a server bind and listen on such a port, and the kernel gives it to
    nobody who asks for any free port. A server that was stopped finds its port free when it starts again.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def reserve(self) -> int:
        """A port that nobody listens on."""
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        self._held.append(held)
        port: int = held.getsockname()[1]
        return port

    def release(self) -> None:
        for held in self._held:
            held.close()
        self._held.clear()
