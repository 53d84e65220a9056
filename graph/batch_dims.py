"""Which dimension of each input counts samples: the one that the user gave, else the first unless that looks wrong.

The first dimension is time in sequence-first models (recurrent networks and transformers without `batch_first`), and
nodes where one call is one graph. A shape does not show it. But such "samples" read each other. A model whose samples
do, while they stay apart along the next dimension, is refused until the user gives the dimension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..records import TraceError
from .comparing import alike, same_values
from .probes import varied
from .samples import UNTRIED
from .traced_graph import InputSpec

BatchDims = Mapping[str, int | None] | int | Literal["none"] | None
"""One dimension for all inputs, or one by name (None: it has none). "none": no input has one. None: not given."""


def batch_dims_of(names: Sequence[str], leaves: Sequence[Any], given: BatchDims) -> list[int | None]:
    """By leaf, the dimension that counts samples.

    For an input whose dimension is not given it is the first, if that has as many entries as there are samples.

    Args:
        names, leaves: the flattened inputs.
        given: the user's choice.

    Raises:
        TraceError: a name that no input has, a dimension that a tensor does not have, an input without samples, or
            inputs that disagree about the number of samples.
    """
    tensors = {name: leaf for name, leaf in zip(names, leaves, strict=True) if isinstance(leaf, Tensor)}
    if given == "none":
        return [None] * len(leaves)
    if isinstance(given, int):
        found = _everywhere(tensors, given)
    else:
        named = dict(given or {})
        require_known("batch_dims", named, tensors)
        for name, dim in named.items():
            _require_dim(name, tensors[name], dim)
        found = {**_first_dims(tensors, named), **named}
    sizes = {name: tensors[name].shape[dim] for name, dim in found.items() if dim is not None}
    for name, size in sizes.items():
        if size == 0:
            raise TraceError(
                f"example input {name!r} of shape {list(tensors[name].shape)} holds no sample; give one at least"
            )
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{name} {size} (dimension {found[name]})" for name, size in sizes.items())
        raise TraceError(f"the example inputs disagree about the number of samples: {counts}; correct batch_dim")
    return [found.get(name) for name in names]


def require_known(option: str, names: Iterable[str], known: Collection[str]) -> None:
    """Refuse names that no input has. Raises TraceError, which names the `option` that they came by."""
    for name in names:
        if name not in known:
            raise TraceError(f"{option} names {name!r}, but the model's tensor inputs are {', '.join(known) or 'none'}")


def _require_dim(name: str, tensor: Tensor, dim: int | None) -> None:
    if dim is not None and not 0 <= dim < tensor.ndim:
        raise TraceError(f"batch_dim names dimension {dim} of input {name!r}, which has {tensor.ndim} dimensions")


def _everywhere(tensors: Mapping[str, Tensor], dim: int) -> dict[str, int | None]:
    """The same dimension of the first tensor, and of all others where it is as long."""
    name, first = next(iter(tensors.items()))
    _require_dim(name, first, dim)
    return {
        name: dim if tensor.ndim > dim and tensor.shape[dim] == first.shape[dim] else None
        for name, tensor in tensors.items()
    }


def _first_dims(tensors: Mapping[str, Tensor], named: Mapping[str, int | None]) -> dict[str, int | None]:
    """The first dimension of every tensor that has one entry a sample there."""
    counts = [tensors[name].shape[dim] for name, dim in named.items() if dim is not None]
    counts += [tensor.shape[0] for tensor in tensors.values() if tensor.ndim]
    return {name: 0 if tensor.ndim and tensor.shape[0] == counts[0] else None for name, tensor in tensors.items()}


def ask_which(
    model: nn.Module,
    specs: Sequence[InputSpec],
    leaves: Sequence[Any],
    structure: pytree.TreeSpec,
    mixed_at: str,
    *,
    resizes: bool,
) -> None:
    """Refuse to guess for a model in which entries along the first dimensions read each other.

    Args:
        model: in eval mode.
        specs, leaves, structure: the flattened inputs, and their nesting.
        mixed_at: where entries first read each other.
        resizes: the model runs with another number of entries.

    Raises:
        TraceError: the inputs look like those of a graph network, entries stay apart along dimension 1, or no other
            number of entries can run.
    """
    named = {spec.name: leaf for spec, leaf in zip(specs, leaves, strict=True) if isinstance(leaf, Tensor)}
    first = next(spec for spec in specs if spec.batch_dim is not None)
    shape = "x".join(str(size) for size in first.shape or ())
    entries = f"entries along dimension 0 of input {first.name!r} ({shape})"
    read = f"{entries} read each other, first at {mixed_at}"
    edges = _edges(named, first.name)
    if edges is not None:
        dims = ", ".join(f'"{name}": {None if name == edges else spec_dim}' for name, spec_dim in _named(specs))
        raise TraceError(
            f"{entries} read each other, and {edges!r} looks like the edges of a graph: are they nodes, not samples? "
            f"{_ONE_CALL}; where dimension 0 does count samples, write batch_dim = {{{dims}}}"
        )
    if mixed_at != UNTRIED and _apart_along_next(model, named, leaves, structure, first.name):
        raise TraceError(
            f"{read}, and stay apart along dimension 1: is dimension 0 time? Then write batch_dim = 1 in the target "
            "file, or give --batch-dim 1; where dimension 0 does count samples, write batch_dim = 0"
        )
    if not resizes:
        raise TraceError(
            f"another number of {entries} cannot run, so they do not look like samples. "
            f"{_ONE_CALL}; where dimension 0 does count samples, write batch_dim = 0"
        )


_ONE_CALL = "Where one call is one sample, write batch_dim = None in the target file, or give --batch-dim none"


def _named(specs: Sequence[InputSpec]) -> list[tuple[str, int | None]]:
    return [(spec.name, spec.batch_dim) for spec in specs if spec.is_tensor]


def _edges(named: Mapping[str, Tensor], first: str) -> str | None:
    """An input that looks like the edges between the nodes `first`: integers `[2, E]`, or an adjacency matrix."""
    nodes = named[first]
    for name, tensor in named.items():
        if name == first or tensor.ndim != 2:
            continue
        pairs = tensor.dtype == torch.int64 and tensor.shape[0] == 2 and nodes.is_floating_point()
        square = tensor.shape[0] == tensor.shape[1] == nodes.shape[0] > 1 and nodes.is_floating_point()
        if pairs or square:
            return name
    return None


def _apart_along_next(
    model: nn.Module, named: Mapping[str, Tensor], leaves: Sequence[Any], structure: pytree.TreeSpec, first: str
) -> bool:
    """True where the outputs have one entry for each along dimension 1 of the inputs, and these stay apart."""
    given = named[first]
    if given.ndim < (3 if given.is_floating_point() else 2):  # a step of a series has features; a step of ids has not
        return False
    count = named[first].shape[1]
    carries = [isinstance(leaf, Tensor) and leaf.ndim > 1 and leaf.shape[1] == count for leaf in leaves]
    generator = torch.Generator().manual_seed(0)
    columns: list[list[Any]] = [[], [], []]
    for leaf, carried in zip(leaves, carries, strict=True):
        parts = varied(leaf, 1, 2, generator) if carried else [leaf] * 3
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    try:
        answers = []
        for column in columns:
            args, kwargs = pytree.tree_unflatten(column, structure)
            answers.append([leaf for leaf in pytree.tree_leaves(model(*args, **kwargs)) if isinstance(leaf, Tensor)])
    except Exception:  # the model does not run with another number of entries there
        return False
    return bool(answers[0]) and all(_stays(*each) for each in zip(*answers, strict=True))


def _stays(before: Tensor, after: Tensor, alone: Tensor) -> bool:
    """True where an output of two samples has one entry a sample, and neither depends on the other sample."""
    dims = [dim for dim, size in enumerate(before.shape) if before.ndim == alone.ndim and size != alone.shape[dim]]
    if len(dims) != 1 or (before.shape[dims[0]], alone.shape[dims[0]]) != (2, 1):
        return False
    last = [batch.select(dims[0], 1) for batch in (before, after)]
    return same_values(*last) and alike(before.select(dims[0], 0), alone.select(dims[0], 0))
