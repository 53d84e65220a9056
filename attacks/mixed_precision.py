"""Networks of attackers learn with products in bfloat16 where the processor multiplies these faster.

Weights, gradients, losses and whatever is reconstructed stay in float32.
"""

from __future__ import annotations

from functools import cache

import torch


def quick_products(device: torch.device, *, learning: bool) -> torch.autocast:
    """A block of convolutions and matrix products in bfloat16, while `learning` and where `device` is fast at it.

    Examples:
        >>> import torch
        >>> with quick_products(torch.device("cpu"), learning=False):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=learning and _is_fast(device.type))


@cache
def _is_fast(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
