"""A cache that holds a bounded number of bytes, whatever it keeps: tensors, releases, activations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .errors import CollabplanError

Key = TypeVar("Key")
Value = TypeVar("Value")


class ByteBoundedCache(Generic[Key, Value]):
    """Values by key, at most `most_bytes` of them together.

    `get` marks a value as used; `peek` does not. When a new value does not fit, the least recently used values are
    evicted, or with `evicts=False` the new value is not kept. Not safe to share between threads.

    Args:
        most_bytes: of all values together, at least 0.
        size_of: the bytes of one value. It must always give the same size for the same value.
        evicts: make room for a new value by evicting old ones.
        keeps_newest: keep a new value even if it alone is larger than `most_bytes`.

    Raises:
        CollabplanError: `most_bytes` is negative.

    Examples:
        >>> cache = ByteBoundedCache[str, bytes](5, len)
        >>> cache.put("a", b"123"), cache.put("b", b"45"), cache.put("c", b"6")
        ([], [], ['a'])
    """

    def __init__(
        self, most_bytes: int, size_of: Callable[[Value], int], *, evicts: bool = True, keeps_newest: bool = False
    ) -> None:
        if most_bytes < 0:
            raise CollabplanError(f"a cache needs a budget of at least 0 bytes, got {most_bytes}")
        self.most_bytes = most_bytes
        self._size_of, self._evicts, self._keeps_newest = size_of, evicts, keeps_newest
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._held = 0

    @property
    def held_bytes(self) -> int:
        """The bytes of all values that are kept."""
        return self._held

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def get(self, key: Key) -> Value | None:
        """The value of `key`, marked as the most recently used one; None if it is not kept."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def peek(self, key: Key) -> Value | None:
        """The value of `key` without marking it as used; None if it is not kept."""
        return self._values.get(key)

    def items(self) -> Iterator[tuple[Key, Value]]:
        """All keys and values, the least recently used first."""
        return iter(self._values.items())

    def put(self, key: Key, value: Value) -> list[Key]:
        """Keep a value if it fits. A key that is kept already gets the new value and keeps its place.

        Returns:
            The keys that were evicted to make room, the oldest first.
        """
        size = self._size_of(value)
        if key in self._values:
            self._held -= self._size_of(self._values[key])
        elif not self._has_room_for(size):
            return []
        self._values[key] = value
        self._held += size
        return self._evicted()

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._held = 0

    def _has_room_for(self, size: int) -> bool:
        """Whether a new value of `size` bytes can be kept, if need be by evicting others."""
        if self._keeps_newest:
            return True
        return size <= (self.most_bytes if self._evicts else self.most_bytes - self._held)

    def _evicted(self) -> list[Key]:
        evicted = []
        while self._held > self.most_bytes and len(self._values) > 1:
            key, value = self._values.popitem(last=False)
            self._held -= self._size_of(value)
            evicted.append(key)
        return evicted
