"""Packing codes to their bits: against a slow reference, and there and back."""

from __future__ import annotations

import numpy as np
import pytest
from collabplan.runtime.wire.bitpacking import pack_codes, packed_bytes, unpack_codes
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def coded(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    bits = draw(st.integers(1, 16))
    samples, elements = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    numbers = draw(st.lists(st.integers(0, 2**bits - 1), min_size=samples * elements, max_size=samples * elements))
    return np.array(numbers, dtype=np.int32).reshape(samples, elements), bits


def slowly_packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """Bit after bit, as the module's docstring says."""
    rows = []
    for row in codes.tolist():
        narrow = [code & 0xFF for code in row] if bits > 8 else row
        planes = [(narrow, min(bits, 8))] + ([([code >> 8 for code in row], bits - 8)] if bits > 8 else [])
        data = b""
        for plane, width in planes:
            number = sum(code << (place * width) for place, code in enumerate(plane))
            data += number.to_bytes(packed_bytes(len(plane), width), "little")
        rows.append(np.frombuffer(data, dtype=np.uint8))
    return np.stack(rows)


@given(coded())
@settings(max_examples=200, deadline=None)
def test_packing_is_that_of_the_slow_reference_and_comes_back(case: tuple[np.ndarray, int]) -> None:
    codes, bits = case
    packed = pack_codes(codes, bits)
    assert packed.shape == (codes.shape[0], packed_bytes(codes.shape[1], bits))
    assert np.array_equal(packed, slowly_packed(codes, bits))
    back = unpack_codes(packed, codes.shape[1], bits)
    assert np.array_equal(back, codes)
    assert back.dtype == (np.uint8 if bits <= 8 else np.int32)


def test_eight_bits_are_not_copied() -> None:
    codes = np.arange(12, dtype=np.uint8).reshape(2, 6)
    assert np.shares_memory(pack_codes(codes, 8), codes)


@pytest.mark.parametrize("bits", [1, 3, 7, 9, 13])
def test_bits_behind_the_last_code_must_be_zero(bits: int) -> None:
    packed = pack_codes(np.zeros((1, 3), dtype=np.int32), bits).copy()
    packed[0, -1] |= 0x80
    with pytest.raises(ValueError, match="not zero"):
        unpack_codes(packed, 3, bits)
