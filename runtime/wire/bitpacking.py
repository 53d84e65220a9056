"""Codes of 1 to 16 bits packed without gaps, sample by sample.

Up to 8 bits, 8 neighbouring codes fill exactly `bits` bytes, the first code in the lowest bits. Above 8 bits the low
bytes of all codes come first, then the packed rest of each code. A sample ends at a whole byte, and the bits left over
are zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def packed_bytes(elements: int, bits: int) -> int:
    """The bytes of `elements` codes of one sample."""
    return (elements * bits + 7) // 8


def pack_codes(codes: NDArray[np.integer], bits: int) -> Bytes:
    """Pack codes `[samples, elements]`, each below 2^bits, into bytes `[samples, packed_bytes]`.

    With 8 bits the result may share the memory of the codes.
    """
    if bits > 8:
        low, high = (codes & 0xFF).astype(np.uint8), (codes >> 8).astype(np.uint8)
        return np.concatenate([low, pack_codes(high, bits - 8)], axis=1)
    narrow = np.ascontiguousarray(codes, dtype=np.uint8)
    if bits == 8:
        return narrow
    samples, elements = narrow.shape
    groups = -(-elements // 8)
    if elements % 8:
        narrow = np.pad(narrow, ((0, 0), (0, groups * 8 - elements)))
    grouped = narrow.reshape(samples, groups, 8)
    words = np.zeros((samples, groups), dtype="<u8")
    for place in range(8):
        words |= grouped[:, :, place].astype("<u8") << np.uint64(place * bits)
    packed = words.view(np.uint8).reshape(samples, groups, 8)[:, :, :bits].reshape(samples, groups * bits)
    return packed[:, : packed_bytes(elements, bits)]


def unpack_codes(packed: Bytes, elements: int, bits: int) -> NDArray[np.integer]:
    """The inverse of `pack_codes`: a new array `[samples, elements]`, uint8 up to 8 bits and int32 above.

    Raises:
        ValueError: the bits after a sample's last code are not zero.
    """
    if bits > 8:
        low = packed[:, :elements].astype(np.int32)
        return low | (unpack_codes(packed[:, elements:], elements, bits - 8).astype(np.int32) << 8)
    if bits == 8:
        return packed.copy()
    samples, groups = packed.shape[0], -(-elements // 8)
    whole = np.zeros((samples, groups * bits), dtype=np.uint8)
    whole[:, : packed.shape[1]] = packed
    words = np.zeros((samples, groups, 8), dtype=np.uint8)
    words[:, :, :bits] = whole.reshape(samples, groups, bits)
    numbers = words.view("<u8")[:, :, 0]
    codes = np.empty((samples, groups, 8), dtype=np.uint8)
    mask = np.uint64((1 << bits) - 1)
    for place in range(8):
        codes[:, :, place] = (numbers >> np.uint64(place * bits)) & mask
    flat = codes.reshape(samples, groups * 8)
    if flat[:, elements:].any():
        raise ValueError("bits after the last code are not zero")
    return flat[:, :elements]
