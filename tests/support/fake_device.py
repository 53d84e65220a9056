"""A fake accelerator: real numbers behind tensors that say they are elsewhere, and a memory of a chosen size.

Its name is `meta`, which torch knows without any driver. As on a real one, an operator that is given a tensor of the
CPU beside one of the device fails (scalars excepted), and so does numpy. As an Apple GPU, it has no float64.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
from collabplan.attacks import decoders, generators
from collabplan.profilers import timers
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

DEVICE = torch.device("meta")


class OnDevice(Tensor):
    """A tensor on the device; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares it without its first argument
        cls, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(function, args, kwargs or {})

    __torch_function__: ClassVar[Callable[..., Any]] = torch._C._disabled_torch_function_impl


class FakeDevice(TorchDispatchMode):
    """Runs what is on the device.

    Attributes:
        room: the most images, of at least 8 x 8, that it holds at once; None: any number. Kernels are smaller.
        refused: how often there were more.
        ran: operators that were run on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.room: int | None = None
        self.refused = self.ran = 0

    def __torch_dispatch__(
        self, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = _run(function, args, kwargs or {})
        for leaf in tree_flatten(made)[0]:
            if isinstance(leaf, OnDevice):
                self.ran += 1
                if leaf.dtype == torch.float64:
                    raise TypeError("Cannot convert a tensor to float64: the fake device, as an Apple GPU, has none")
                self._fit(tuple(leaf.shape))
        return made

    def _fit(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4 or min(shape[2:]) < 8:
            return
        if self.room is not None and shape[0] > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError(f"fake device out of memory. Tried to allocate {shape[0]} images")


def _run(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    leaves, layout = tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    here = any(isinstance(each, OnDevice) for each in tensors)
    moves = function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    if here and not moves and any(each.ndim and not isinstance(each, OnDevice) for each in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {function} was given meta and cpu")
    wanted = kwargs.get("device")
    if not here and wanted is None:
        return function(*args, **kwargs)
    on_device = here if wanted is None else torch.device(wanted) == DEVICE
    held, named = tree_unflatten([_held(leaf) for leaf in leaves], layout)
    if wanted is not None:
        named["device"] = torch.device("cpu")
    made = function(*held, **named)
    if function._schema.is_mutable:
        return args[0] if function._schema.returns else None
    if moves and not on_device and made is _held(args[0]):
        made = made.clone()
    return tree_map(lambda leaf: OnDevice(leaf) if isinstance(leaf, Tensor) else leaf, made) if on_device else made


class _Constructors(TorchFunctionMode):
    """Numbers of Python on the device: torch makes such tensors without asking whoever stands in for it."""

    def __torch_function__(
        self, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and torch.device(given.get("device") or "cpu") == DEVICE:
            given.pop("device")
            return function(*args, **given).to(DEVICE)
        return function(*args, **given)


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, OnDevice) else leaf


@contextmanager
def fake_device(patch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    """`--device cuda` means the fake device while this lasts."""
    fused = [*torch.utils._foreach_utils._get_fused_kernels_supported_devices(), DEVICE.type]
    patch.setattr(timers, "_resolve_cuda", lambda *_: DEVICE)
    patch.setattr(sys.modules["torch.optim.optimizer"], "_get_fused_kernels_supported_devices", lambda: [*fused])
    for module in (decoders, generators):
        patch.setattr(module, "quick_products", lambda *_, **__: torch.autocast("cpu", enabled=False))
    with _Constructors(), FakeDevice() as device:
        yield device
