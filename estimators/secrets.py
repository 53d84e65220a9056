"""What is secret: the private inputs, as numbers to be reconstructed and as tokens to be recovered.

Numbers are measured in principal components that keep every distance. A change of orthonormal basis leaves each
squared error as it is, so errors over all components are errors in pixels. N samples have at most N - 1 components, so
3 x 224 x 224 inputs cost no more than small ones. Integers that the model computes with (the bytes of a picture) are
numbers too. Integers that it looks something up by are tokens: see `tokens.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..graph import InputSpec, TracedGraph, differ_by_sample
from ..records import CollabplanError
from ..targets.data import Data, InputScaling
from .tokens import TokenInput, marks_padding, token_inputs


def private_inputs(data: Data, traced: TracedGraph | Sequence[InputSpec], scaling: InputScaling) -> tuple[Tensor, ...]:
    """The private inputs of `data` in [0, 1], one `[N, d_i]` each, float32 or wider, in the order of the inputs.

    Floating inputs are scaled by `scaling`; integers that the model computes with, by their least and greatest value.
    Tokens stand as their vectors in the embedding, `[N, L * E]`. Integers that never vary are left out, and so are
    masks that mark only the padding of the tokens.

    Args:
        data: N samples.
        traced: the model; its `tensor_inputs` suffice if no integer input is private.
        scaling: between pixels in [0, 1] and what the model reads.

    Raises:
        CollabplanError: nothing private is left; a complex input; integers without a graph that tells what they are; or
            ids outside their table.
    """
    numbers, tokens = _told_apart(data, traced, scaling)
    found = {**numbers, **{each.position: each.embedded for each in tokens}}
    return tuple(found[position] for position in sorted(found))


def _told_apart(
    data: Data, traced: TracedGraph | Sequence[InputSpec], scaling: InputScaling
) -> tuple[dict[int, Tensor], tuple[TokenInput, ...]]:
    """The private numbers in [0, 1] by the input's position, and the private tokens. Raises as `private_inputs`."""
    specs = traced.tensor_inputs if isinstance(traced, TracedGraph) else traced
    if len(specs) != len(data.inputs):
        raise CollabplanError(f"the model has {len(specs)} tensor inputs, the data {len(data.inputs)}")
    tokens = token_inputs(data, traced) if isinstance(traced, TracedGraph) else ()
    taken = {each.position for each in tokens}
    numbers = {}
    for position, (tensor, spec, own) in enumerate(zip(data.inputs, specs, differ_by_sample(specs), strict=True)):
        if spec.public or not own or position in taken or marks_padding(tensor.cpu(), tokens):
            continue
        if tensor.is_complex():
            raise CollabplanError(
                f"the private input {spec.name!r} is complex, and leakage is measured of real ones; let the model take "
                "its pairs `[..., 2]` and begin with torch.view_as_complex"
            )
        if tensor.is_floating_point():
            numbers[position] = scaling.to_unit(tensor).reshape(len(data), -1)
            continue
        if not isinstance(traced, TracedGraph):
            raise CollabplanError(
                f"input {spec.name!r} holds {spec.dtype}, and only the model's graph tells whether these are tokens or "
                "numbers; give the traced graph"
            )
        low, high = tensor.min(), tensor.max()
        if bool(low < high):
            low, high = low.double(), high.double()
            numbers[position] = ((tensor.double() - low) / (high - low)).float().reshape(len(data), -1)
    if not numbers and not tokens:
        names = ", ".join(spec.name for spec in specs)
        raise CollabplanError(
            f"leakage needs a private input that varies, and none of the inputs ({names}) is one; remove the input to "
            "protect from public_inputs, or give data in which it differs"
        )
    return numbers, tokens


def private_numbers(data: Data, traced: TracedGraph, scaling: InputScaling) -> dict[int, Tensor]:
    """The private inputs that are numbers, `[N, d_i]` in [0, 1] by the input's position. Raises as `private_inputs`."""
    return _told_apart(data, traced, scaling)[0]


@dataclass(frozen=True, eq=False)
class Secrets:
    """What attackers are after, of N samples. Build it once per data set and pass it to every `CutLeakage`.

    Attributes:
        numbers: the private inputs to reconstruct; None if all are tokens, or never vary.
        tokens: the private inputs to recover.
        embedded: the tokens' vectors, for estimators that look at the inputs; None without tokens.
        one: one sample, which holds fixed what a replay of the edge half does not change; None if none is possible.
    """

    numbers: Components | None
    tokens: tuple[TokenInput, ...] = ()
    embedded: Components | None = None
    one: Data | None = None

    @classmethod
    def of(cls, data: Data, traced: TracedGraph, scaling: InputScaling) -> Secrets:
        """The private inputs of a model's data.

        Args:
            data: N samples.
            traced: the model.
            scaling: between pixels in [0, 1] and what the model reads.

        Raises:
            CollabplanError: as `private_inputs`; or all samples have the same private input.
        """
        numbers, tokens = _told_apart(data, traced, scaling)
        varying = tuple(each for each in tokens if not each.constant)
        differ = any(bool((tensor != tensor[:1]).any()) for tensor in numbers.values())
        if not differ and not varying:
            raise CollabplanError(NOTHING)
        return cls(
            Components.of(list(numbers.values())) if differ else None,
            varying,
            Components.of([each.embedded for each in varying]) if varying else None,
            data.take([_fullest(varying)]),
        )

    def __len__(self) -> int:
        return len(self.tokens[0]) if self.numbers is None else len(self.numbers)

    def take(self, indices: Tensor) -> Secrets:
        """The secrets of the samples at `indices` `[M]`."""
        numbers, embedded = (None if each is None else each.take(indices) for each in (self.numbers, self.embedded))
        return Secrets(numbers, tuple(each.take(indices) for each in self.tokens), embedded, self.one)

    @property
    def shown(self) -> Tensor:
        """Everything side by side, `[N, d]`, for estimators that look at the inputs."""
        scores = [score for each in (self.numbers, self.embedded) if each is not None for score in each.scores]
        return scores[0] if len(scores) == 1 else torch.cat(scores, dim=1)


def _fullest(tokens: Sequence[TokenInput]) -> int:
    """The sample with the least padding."""
    return int(sum((each.counted.sum(dim=1) for each in tokens), torch.zeros(1)).argmax()) if tokens else 0


NOTHING = "all samples have the same private input, so there is nothing to reconstruct; give more varied data"


@dataclass(frozen=True, eq=False)
class Components:
    """Each private input in its principal components: `[N, r_i]` float64, centred, most variance first."""

    scores: tuple[Tensor, ...]

    @classmethod
    def of(cls, inputs: Tensor | Sequence[Tensor]) -> Components:
        """The components of inputs.

        Args:
            inputs: in [0, 1], each `[N, ...]`.

        Raises:
            CollabplanError: values outside [0, 1], different N, or samples that are all the same.
        """
        tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if not tensors or len({tensor.shape[0] for tensor in tensors}) != 1:
            raise CollabplanError("private inputs need at least one tensor, and the same number of samples in each")
        for tensor in tensors:
            if not bool(((tensor >= 0) & (tensor <= 1)).all()):
                raise CollabplanError("private inputs must lie in [0, 1] (and hold no NaN); use InputScaling.to_unit")
        scores = tuple(_scores(tensor.detach().cpu().reshape(tensor.shape[0], -1)) for tensor in tensors)
        scores = tuple(score for score in scores if score.shape[1])
        if not scores:
            raise CollabplanError(NOTHING)
        return cls(scores)

    def __len__(self) -> int:
        return self.scores[0].shape[0]

    def take(self, indices: Tensor) -> Components:
        """The samples at `indices` `[M]`, in the components of all samples."""
        return Components(tuple(score[indices] for score in self.scores))


def _scores(rows: Tensor) -> Tensor:
    """`[N, d]` -> `[N, r]` with the same pairwise distances; r = rank."""
    count, width = rows.shape
    low, high = rows.aminmax(dim=0)
    varying = rows[:, low < high]
    if varying.shape[1] == 0:
        return torch.zeros(count, 0, dtype=torch.float64)
    centred = varying.double() - varying.double().mean(dim=0) if width <= count else None
    if centred is not None:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        kept = values > 1e-10 * values[-1]
        scores: Tensor = (centred @ vectors[:, kept]).flip(1)
        return scores
    products = torch.zeros(count, count, dtype=torch.float64)
    for chunk in torch.split(varying, 4096, dim=1):
        shifted = chunk - chunk.mean(dim=0)
        products += shifted @ shifted.T
    values, vectors = torch.linalg.eigh(products)
    kept = values > 1e-10 * values[-1]
    rotated: Tensor = vectors[:, kept] * values[kept].sqrt()
    return rotated.flip(1)
