"""One end of the socket pair between a runner and a child, as each of the two uses it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from mqtasks.worker.isolation.frames import (
    HEAD,
    ToChild,
    ToRunner,
    decode_to_child,
    decode_to_runner,
    frame,
)

T = TypeVar("T")
_CHUNK: Final = 256 * 1024


class _Frames(Generic[T]):
    """Bytes in, messages out."""

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> T | None:
        buffer = self._buffer
        if len(buffer) < HEAD.size:
            return None
        end = HEAD.size + HEAD.unpack_from(buffer)[0]
        if len(buffer) < end:
            return None
        message = self._decode(bytes(buffer[HEAD.size : end]))
        del buffer[:end]
        return message


class ChildWire:
    """The child's end: any thread may send, one receives. Both wait as long as it takes."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._frames: _Frames[ToChild] = _Frames(decode_to_child)
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def send(self, message: ToRunner) -> None:
        """Send a message; without a runner that hears it, the process has no reason to go on.

        Nor has a copy of it that user code has forked, and that has come back from there.
        """
        if os.getpid() != self._pid:
            os._exit(0)
        try:
            with self._lock:
                self._socket.sendall(frame(message))
        except OSError:
            os._exit(1)

    def receive(self) -> ToChild | None:
        """Wait for a message; None once the runner is gone."""
        while (message := self._frames.next()) is None:
            try:
                data = self._socket.recv(_CHUNK)
            except OSError:
                return None
            if not data:
                return None
            self._frames.feed(data)
        return message


class RunnerWire:
    """The runner's end: nothing waits, so a child that does not read cannot hold anybody up.

    One thread at a time uses it; `shut` may be called by any.
    """

    def __init__(self) -> None:
        """Make a pair; ``theirs`` is what the child inherits."""
        mine, self.theirs = socket.socketpair()
        mine.settimeout(0)
        self._socket = mine
        self._frames: _Frames[ToRunner] = _Frames(decode_to_runner)
        self._unsent = bytearray()
        self.over = False
        """The child is gone; what it said before can still be read."""

    @property
    def fd(self) -> int:
        """What to wait on."""
        return self._socket.fileno()

    @property
    def unsent(self) -> bool:
        """Whether `flush` has something left to do."""
        return bool(self._unsent)

    def send(self, message: ToChild) -> None:
        """Send a message, now or by later calls of `flush`."""
        self._unsent += frame(message)
        self.flush()

    def flush(self) -> None:
        """Send as much as the child takes."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # it reads no more; its end shows when reading

    def receive(self) -> ToRunner | None:
        """Return the next message that is there; None if none is."""
        while (message := self._frames.next()) is None and not self.over:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                return None
            except OSError:
                data = b""
            self.over = not data
            self._frames.feed(data)
        return message

    def shut(self) -> None:
        """Make both ends see the end of it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the descriptor."""
        self._socket.close()

    def abandon(self) -> None:
        """Let go of both ends: there is no child."""
        self.close()
        self.theirs.close()


class Bell(threading.Event):
    """An event that also wakes a thread which waits on descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self._ears, self._rope = os.pipe()
        os.set_blocking(self._rope, False)
        self._closed = False
        self._guard = threading.Lock()

    @property
    def fd(self) -> int:
        """Readable once it was set."""
        return self._ears

    def set(self) -> None:
        """Set it, and wake whoever waits. From any thread, at any time."""
        super().set()
        with self._guard:
            if not self._closed:
                with contextlib.suppress(BlockingIOError):
                    os.write(self._rope, b"!")

    def hear(self) -> None:
        """Wait for the next ring from now on. By the thread that waits."""
        os.read(self._ears, 4096)

    def close(self) -> None:
        """Let go of the descriptors; setting it later does no harm."""
        with self._guard:
            self._closed = True
            os.close(self._ears)
            os.close(self._rope)
