"""A byte-bounded cache never holds more than its budget, and forgets the least recently used first."""

from __future__ import annotations

import pytest
from collabplan.records import CollabplanError
from collabplan.records.byte_cache import ByteBoundedCache
from hypothesis import given
from hypothesis import strategies as st


def test_the_least_recently_used_value_is_evicted_first() -> None:
    cache = ByteBoundedCache[str, bytes](6, len)
    assert cache.put("a", b"123") == []
    assert cache.put("b", b"456") == []
    assert cache.get("a") == b"123"
    assert cache.put("c", b"7") == ["b"]
    assert [key for key, _ in cache.items()] == ["a", "c"]


def test_peeking_does_not_count_as_use() -> None:
    cache = ByteBoundedCache[str, bytes](6, len)
    cache.put("a", b"123")
    cache.put("b", b"456")
    assert cache.peek("a") == b"123"
    assert cache.put("c", b"7") == ["a"]
    assert cache.peek("a") is None


def test_a_value_above_the_budget_is_not_kept_and_evicts_nothing() -> None:
    cache = ByteBoundedCache[str, bytes](3, len)
    cache.put("a", b"12")
    assert cache.put("b", b"1234") == []
    assert "a" in cache
    assert "b" not in cache


def test_the_newest_value_is_kept_above_the_budget_on_request() -> None:
    cache = ByteBoundedCache[str, bytes](3, len, keeps_newest=True)
    cache.put("a", b"12")
    assert cache.put("b", b"1234") == ["a"]
    assert cache.get("b") == b"1234"


def test_a_full_cache_that_does_not_evict_keeps_what_came_first() -> None:
    cache = ByteBoundedCache[str, bytes](3, len, evicts=False)
    cache.put("a", b"12")
    assert cache.put("b", b"34") == []
    assert cache.put("c", b"5") == []
    assert [key for key, _ in cache.items()] == ["a", "c"]


def test_a_replaced_value_changes_the_bytes_that_are_held() -> None:
    cache = ByteBoundedCache[str, bytes](10, len)
    cache.put("a", b"123")
    cache.put("a", b"1")
    assert (len(cache), cache.held_bytes) == (1, 1)
    cache.clear()
    assert (len(cache), cache.held_bytes) == (0, 0)


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(CollabplanError, match="at least 0 bytes, got -1"):
        ByteBoundedCache[str, bytes](-1, len)


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=8)), max_size=60), st.integers(0, 16), st.booleans())
def test_the_budget_holds_for_any_sequence_of_values(puts: list[tuple[int, bytes]], budget: int, evicts: bool) -> None:
    cache = ByteBoundedCache[int, bytes](budget, len, evicts=evicts)
    for key, value in puts:
        if key not in cache:
            cache.put(key, value)
        assert cache.held_bytes == sum(len(kept) for _, kept in cache.items()) <= budget
