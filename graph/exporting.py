"""One call of `torch.export` with a free or a fixed batch: silenced, its program made functional and decomposed."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.utils import _pytree as pytree

from .batches import Followed
from .decomposition import decompose
from .exact import exact_division
from .functional import functional
from .inputs import parameters, resize_batch
from .traced_graph import InputSpec
from .twins import twins

TRACED_BATCH = 2
"""The batch size of the examples in a dynamic export: at batch 1, export would fix it."""


def exported(
    model: nn.Module,
    specs: tuple[InputSpec, ...],
    leaves: list[Any],
    structure: pytree.TreeSpec,
    *,
    strict: bool,
    dynamic: bool,
    again: bool = False,
) -> ExportedProgram:
    """The model as a functional program, of admitted operators as far as possible.

    Args:
        model: in eval mode.
        specs, leaves, structure: the flattened inputs, and their nesting.
        strict: read the model's code instead of running it.
        dynamic: keep the batch free.
        again: as in `functional`.

    Raises:
        Exception: whatever `torch.export` raises for a model that it cannot export.
    """
    examples: list[Any] = []
    shapes: Any = ShapesCollection()  # type: ignore[no-untyped-call]
    batch = Dim("batch")
    for spec, leaf in zip(specs, leaves, strict=True):
        if isinstance(leaf, Tensor):
            leaf = leaf.detach().clone()
            if dynamic and spec.batch_dim is not None:
                leaf = resize_batch(leaf, spec.batch_dim, TRACED_BATCH)
                shapes[leaf] = {spec.batch_dim: batch}
        examples.append(leaf)
    args, kwargs = pytree.tree_unflatten(examples, structure)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters(model)):
        model, args, kwargs = _with_flat_signature(model, structure), tuple(examples), {}
    reading_code = exact_division() if dynamic else contextlib.nullcontext()
    with quiet(), twins():
        with reading_code if strict else Followed():
            program = torch.export.export(
                model, args, kwargs, dynamic_shapes=shapes if dynamic else None, strict=strict
            )
        return decompose(functional(program, again=again))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence torch: export prints graphs, warnings and logs about failures that we report in one line."""
    logger = logging.getLogger("torch")
    # A child without a level of its own follows its parent, and each change of a level costs 0.2 ms.
    levels = {log: log.level for log in [logger, *(log for log in _children(logger) if log.level != logging.NOTSET)]}
    try:
        for log in levels:
            log.setLevel(logging.CRITICAL + 1)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in levels.items():
            log.setLevel(level)


def _children(parent: logging.Logger) -> list[logging.Logger]:
    prefix = f"{parent.name}."
    every = parent.manager.loggerDict.items()
    return [log for name, log in every if name.startswith(prefix) and isinstance(log, logging.Logger)]


def _with_flat_signature(model: nn.Module, structure: pytree.TreeSpec) -> nn.Module:
    """The model with a forward that takes the flattened inputs; all else is shared.

    `torch.export` does not accept dynamic shapes for a forward with `**kwargs`.
    """
    kind: Any = type(model)
    own = model.__dict__.get("forward")

    class Flat(kind):  # type: ignore[misc]
        def forward(self, *leaves: Any) -> Any:
            args, kwargs = pytree.tree_unflatten(list(leaves), structure)
            return own(*args, **kwargs) if own is not None else super().forward(*args, **kwargs)

    flat: nn.Module = Flat.__new__(Flat)
    flat.__dict__ = {name: value for name, value in model.__dict__.items() if name != "forward"}
    return flat
