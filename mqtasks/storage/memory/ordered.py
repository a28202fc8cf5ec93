"""A set of comparable keys kept in order, for the indexes of the memory storage."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar

Key = TypeVar("Key", int, tuple[int, int], tuple[int, int, int])

_COMPACT_FROM = 64


class Ordered(Generic[Key]):
    """Keys in ascending order; not safe to share between threads.

    Removing only marks a key: queues lose their first keys one by one, and shifting a long list
    each time would cost O(n). Marked keys go when they are met at the front, or when they
    outnumber the rest.
    """

    __slots__ = ("_gone", "_keys")

    def __init__(self) -> None:
        self._keys: list[Key] = []
        self._gone: set[Key] = set()

    def __len__(self) -> int:
        return len(self._keys) - len(self._gone)

    def add(self, key: Key) -> None:
        """Add a key that is not in the set."""
        if key in self._gone:
            self._gone.remove(key)
        elif not self._keys or self._keys[-1] < key:
            self._keys.append(key)
        else:
            insort(self._keys, key)

    def remove(self, key: Key) -> None:
        """Remove a key that is in the set."""
        gone = self._gone
        gone.add(key)
        if len(gone) > _COMPACT_FROM and len(gone) * 2 > len(self._keys):
            self._keys = [item for item in self._keys if item not in gone]
            gone.clear()

    def first(self) -> Key | None:
        """Return the lowest key; None if there is none."""
        self._trim()
        return self._keys[0] if self._keys else None

    def take(self, limit: int) -> list[Key]:
        """Return the ``limit`` lowest keys, ascending. They stay in the set."""
        self._trim()
        return list(islice(self, limit))

    def since(self, key: Key, limit: int) -> list[Key]:
        """Return up to ``limit`` keys >= ``key``, ascending."""
        return list(islice(self._from(bisect_left(self._keys, key)), limit))

    def __iter__(self) -> Iterator[Key]:
        return self._from(0)

    def __reversed__(self) -> Iterator[Key]:
        gone = self._gone
        return (item for item in reversed(self._keys) if item not in gone)

    def _from(self, start: int) -> Iterator[Key]:
        keys, gone = self._keys, self._gone
        return (keys[i] for i in range(start, len(keys)) if keys[i] not in gone)

    def _trim(self) -> None:
        gone, keys = self._gone, self._keys
        count = 0
        while count < len(keys) and keys[count] in gone:
            gone.remove(keys[count])
            count += 1
        if count:
            del keys[:count]
