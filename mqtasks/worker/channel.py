"""Messages between two processes, one JSON object a line, over a socket pair."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

import msgspec

from mqtasks.worker.messages import Message

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class Channel:
    """One end. Any thread may send; one thread receives. The other end's death shows as its end."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lines = end.makefile("rb")
        self._lock = threading.Lock()

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """Return one end, and the socket whose descriptor another process is to be given."""
        mine, theirs = socket.socketpair()
        return cls(mine), theirs

    @classmethod
    def from_fd(cls, fd: int) -> Self:
        """Return the end behind an inherited descriptor."""
        return cls(socket.socket(fileno=fd))

    def send(self, message: Message) -> bool:
        """Send a message; return False if the other end is gone."""
        try:
            with self._lock:
                self._socket.sendall(_encode(message) + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """Wait for a message; None once the other end is closed, or `shut` was called here."""
        try:
            line = self._lines.readline()
        except (OSError, ValueError):
            return None
        return _decode(line) if line.endswith(b"\n") else None

    def shut(self) -> None:
        """Make a `receive` that waits, here and at the other end, return None."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def stop_receiving(self) -> None:
        """Make a `receive` that waits here return None; sending goes on."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Let go of this end. May be called twice, but not while `receive` waits."""
        self.shut()
        with contextlib.suppress(OSError):
            self._lines.close()
        self._socket.close()
