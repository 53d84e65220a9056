"""FLOPs of one operator call, by the formulas that `torch.utils.flop_counter` registers.

Those count the multiplications and additions of matrix products, convolutions and attention (2 per
multiply-add). A call with parts that the registry does not know is *unknown*, never zero. Bias,
softmax and element-wise work in the same call as a product are not counted, as in the registry. FLOPs are
not a latency: memory traffic is as often the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

aten = torch.ops.aten

_BESIDE_PRODUCTS = {"_softmax", "_safe_softmax", "_unsafe_view", "copy_", "cat", "constant_pad_nd", "empty", "sum"}
"""Operators that may accompany a product inside one composite call without making it unknown."""


def _attention(query: Any, key: Any, value: Any, *_args: Any, **_kwargs: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _formulas() -> dict[Any, Callable[..., int]]:
    """The registry, and the CPU's attention kernel, which it lacks, under the same formula."""
    known: dict[Any, Callable[..., int]] = dict(flop_registry)
    known[aten._scaled_dot_product_flash_attention_for_cpu] = _attention
    return known


class FlopCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that run inside it.

    Examples:
        >>> left, right = torch.ones(2, 3), torch.ones(3, 4)
        >>> with FlopCount() as count:
        ...     product = left @ right
        >>> count.flops
        48
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._formulas = _formulas()
        self._counted: int | None = None
        self._unknown = False

    @property
    def flops(self) -> int | None:
        """The operations counted so far; None where no product ran or a part is unknown."""
        return None if self._unknown else self._counted

    @property
    def counted(self) -> int:
        """The operations of the parts that are known: a lower end."""
        return self._counted or 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operator. A composite one is decomposed first, so that its products are seen."""
        kwargs = dict(kwargs or {})
        formula = self._formulas.get(getattr(func, "_overloadpacket", func))
        if formula is None and isinstance(func, torch._ops.OpOverload):
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self._count(formula, args, kwargs, result)
        elif not _is_light(func):
            self._unknown = True
        return result

    def _count(self, formula: Callable[..., int], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        try:
            self._counted = (self._counted or 0) + int(formula(*args, **kwargs, out_val=result))
        except (AssertionError, ValueError, TypeError):
            self._unknown = True  # the formula was not written for this form of the operator


def _is_light(func: Any) -> bool:
    if not isinstance(func, torch._ops.OpOverload):
        return False
    name = func._schema.name.split("::")[-1]
    return bool(func.is_view) or torch.Tag.pointwise in func.tags or name in _BESIDE_PRODUCTS
