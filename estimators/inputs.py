"""The private inputs as regression targets: principal components that keep every distance.

A change of orthonormal basis leaves each squared error as it is, so errors on all components are errors in
pixels, and N samples need at most N - 1 of them: 3 x 224 x 224 inputs cost no more than small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..graph import InputSpec
from ..records import CollabplanError
from .data import Data, InputScaling


def private_inputs(data: Data, specs: Sequence[InputSpec], scaling: InputScaling) -> tuple[Tensor, ...]:
    """The private floating inputs of `data` in [0, 1], one `[N, d_i]` each, float32 or wider.

    Args:
        specs: `TracedGraph.tensor_inputs`.

    Raises:
        CollabplanError: no floating private input (token ids alone, or everything is public): an error in
            [0, 1] has no meaning for them, so no leakage index can be measured.
    """
    if len(specs) != len(data.inputs):
        raise CollabplanError(f"the model has {len(specs)} tensor inputs, the data {len(data.inputs)}")
    kept = [
        tensor
        for tensor, spec in zip(data.inputs, specs, strict=True)
        if tensor.is_floating_point() and not spec.public and spec.batch_dim is not None
    ]
    if not kept:
        names = ", ".join(spec.name for spec in specs)
        raise CollabplanError(
            f"leakage needs a floating private input, and among the inputs ({names}) there is none; "
            "make the target's model begin at its embeddings (`inputs_embeds`), or declare the inputs in public_inputs"
        )
    return tuple(scaling.to_unit(tensor).reshape(len(data), -1) for tensor in kept)


@dataclass(frozen=True, eq=False)
class Components:
    """Each private input in its principal components: `[N, r_i]` float64, centred, most variance first.

    Build it once per data set and hand it to every `estimate_leakage`.
    """

    scores: tuple[Tensor, ...]

    @classmethod
    def of(cls, inputs: Tensor | Sequence[Tensor]) -> Components:
        """The components of inputs in [0, 1], each `[N, d]` (or `[N, ...]`, flattened).

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
            raise CollabplanError(
                "all samples have the same private input, so there is nothing to reconstruct; give more varied data"
            )
        return cls(scores)

    def __len__(self) -> int:
        return self.scores[0].shape[0]

    def take(self, indices: Tensor) -> Components:
        """The samples at `indices` `[M]`, in the components of all."""
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
