"""Fisher information leakage: how well an *unbiased* attacker can estimate the private input at best.

For T = h(x) + N(0, s^2 I) the Fisher information about x is J^T J / s^2, and by Cramer and Rao any unbiased estimate of
x has a mean squared error per number of at least 1 / dFIL (Maeng et al., "Bounding the invertibility of
privacy-preserving instance encoding using Fisher information", NeurIPS 2023, arXiv 2305.04146; after Guo et al.,
"Bounding training data reconstruction in private (deep) learning", ICML 2022), with

    dFIL = tr(J^T J) / (s^2 d)

over d private input numbers in [0, 1]. The trace is E ||J^T v||^2 over random signs v (Hutchinson 1989): one backward
pass per draw. Dropout at the cut, with its mask in view, keeps a share 1 - rate of the trace exactly, whether elements
or whole channels fall. Laplace noise of scale b has the Fisher information of Gaussian noise of standard deviation b.

What it does not mean: attackers with a prior are biased, and beat 1 / dFIL as soon as it exceeds the prior's own
variance (the paper's bound for those needs the prior's Fisher information, which nobody knows of images). It is
local too (nothing about inputs far apart), and a surrogate where the noise floor is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from ..graph import Cut, dead_gradients, differ_by_sample, to_samples
from ..records import CollabplanError, Crossing, Interval
from ..records.revisions import Part
from ..targets.data import FEW, Data, InputScaling
from .activations import EdgeActivations
from .t_interval import t_half_width

FISHER = Part("fisher", 2)
"""Raise its revision whenever the same edge half gives another dFIL."""

SAMPLES = 64
LOOKED_AT = 65_536
"""Input numbers of one batch in which dead gradients show: wide inputs need few samples. At least two are taken."""

PROBES = 2
"""Samples differ more than draws of the signs do: one more sample tells more than one more draw."""


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How much what crosses a cut moves with the private input: computed once, it serves every defense.

    Attributes:
        traces: per private crossing `[samples]` float64, estimates of tr(J^T J), in the tensor's units
            squared per pixel squared.
        input_numbers: private floating numbers in one sample.
    """

    traces: tuple[Tensor, ...]
    input_numbers: int

    @classmethod
    def of(
        cls,
        activations: EdgeActivations,
        cut: Cut,
        data: Data,
        scaling: InputScaling,
        *,
        generator: torch.Generator,
        samples: int = SAMPLES,
        probes: int = PROBES,
        dead: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Sensitivity | None:
        """From `probes` backward passes per private crossing, over the first `samples` samples of `data`.

        None where no private input is floating: token ids have no derivative.

        Args:
            generator: draws the signs; on the CPU.
            dead: as of `require_derivatives`.

        Raises:
            CollabplanError: fewer than two samples or one probe; a private crossing of integers, or one that moves in
                a way that its derivatives do not tell: neither has a Fisher information, which is no privacy.
        """
        samples = min(samples, len(data))
        if samples < 2 or probes < 1:
            raise CollabplanError(f"dFIL needs at least 2 samples and 1 probe, got {samples} and {probes}")
        specs = activations.traced.tensor_inputs
        private = [
            position
            for position, (spec, own) in enumerate(zip(specs, differ_by_sample(specs), strict=True))
            if data.inputs[position].is_floating_point() and not spec.public and own
        ]
        if not private:
            return None
        crossing = [(index, crossed) for index, crossed in enumerate(cut.crossing) if not crossed.public]
        require_derivatives(activations, cut, [crossed for _, crossed in crossing], data, "dFIL", dead)
        program = activations.halves(cut).edge.graph_module

        def traces(some: slice) -> list[Tensor]:
            batch = data.take(range(samples)[some])
            inputs = list(batch.inputs)
            for position in private:
                inputs[position] = inputs[position].detach().clone().requires_grad_()
            leaves = [inputs[position] for position in private]
            spans = [scaling.spans(leaf.detach()) for leaf in leaves]
            with torch.enable_grad():
                outputs = program(*activations.arguments(Data(tuple(inputs))))  # type: ignore[operator]
                rows = [_rows(crossed, outputs[index], len(batch)) for index, crossed in crossing]
            return [_traces(row, leaves, spans, probes, generator) for row in rows]

        found = list(activations.batch.over(samples, traces))
        numbers = sum(data.inputs[position][0].numel() for position in private)
        return cls(tuple(torch.cat(parts) for parts in zip(*found, strict=True)), numbers)

    def leakage(self, defense: Defense) -> Interval:
        """dFIL under `defense` (calibrated, over the cut's crossings), with its 95 % t interval over samples.

        1 / value bounds the squared error of unbiased attackers per input number. A surrogate where
        `defense.floor` is one.

        Raises:
            CollabplanError: a projection or custom stage changes what crosses, so that the floor is in other units.
        """
        if defense.transforms.stages:
            raise CollabplanError(
                f"dFIL is not computable under {defense.record.unfitted.text}: the noise floor is that of its codes"
            )
        private = defense.private
        total = torch.zeros(0)
        for crossed, trace, std in zip(private.crossing, self.traces, private.floor.stds, strict=True):
            keep = 1.0 - private.rate if private.drops(crossed) else 1.0
            part = trace * (keep / (std**2 * self.input_numbers))
            total = total + part if len(total) else part
        if not len(total):
            return Interval(value=0.0, low=0.0, high=0.0)
        value, count = float(total.mean()), len(total)
        half = t_half_width(float(total.std()), count)
        return Interval(value=value, low=max(value - half, 0.0), high=value + half)


def fisher_leakage(
    activations: EdgeActivations,
    cut: Cut,
    defense: Defense,
    data: Data,
    scaling: InputScaling,
    *,
    generator: torch.Generator,
    samples: int = SAMPLES,
    probes: int = PROBES,
) -> Interval | None:
    """dFIL of one (cut, defense): `Sensitivity.of(...).leakage(defense)`. It bounds unbiased attackers only.

    For many defenses of one cut keep the `Sensitivity`. None and errors as there.
    """
    found = Sensitivity.of(activations, cut, data, scaling, generator=generator, samples=samples, probes=probes)
    return None if found is None else found.leakage(defense)


def dead_at(activations: EdgeActivations, cuts: Iterable[Cut], data: Data) -> dict[str, tuple[str, ...]]:
    """`graph.dead_gradients` on the first samples of `data`: for many cuts it takes as long as for the deepest."""
    numbers = sum(tensor[0].numel() for tensor in data.inputs)
    few = data.few_batches(
        activations.batch_size,
        fixed=not activations.traced.dynamic_batch,
        few=max(2, min(FEW, LOOKED_AT // max(numbers, 1))),
    )
    return dead_gradients(activations.traced, list(cuts), [activations.arguments(batch) for batch in few])


def require_derivatives(
    activations: EdgeActivations,
    cut: Cut,
    private: Sequence[Crossing],
    data: Data,
    what: str,
    dead: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Refuse `what` where derivatives do not tell how the private crossings move with the input.

    Args:
        activations, data: run the edge half.
        cut: where they cross.
        private: the private crossings.
        what: is refused.
        dead: what `dead_at` found for this cut among others; None: it is looked for here.

    Raises:
        CollabplanError: a crossing of integers, or a dead gradient: neither is privacy.
    """
    for crossed in private:
        if not crossed.is_floating:
            raise CollabplanError(
                f"{crossed.name} is {crossed.dtype} and has no derivative, so {what} is not computable here"
            )
    if dead is None:
        dead = dead_at(activations, [cut], data)
    for crossed in private:
        if crossed.name in dead:
            raise CollabplanError(
                f"gradients do not tell how {crossed.name} depends on the input (they end at "
                f"{', '.join(dead[crossed.name])}), so {what} is not computable here; that is no privacy: read the "
                "leakage index"
            )


def _rows(crossed: Crossing, tensor: Tensor, count: int) -> Tensor:
    if crossed.layout is None:
        raise CollabplanError(f"{crossed.name} cannot be divided into samples, so it has no dFIL; choose another cut")
    return to_samples(tensor, crossed.layout)[:count]


def _traces(
    rows: Tensor, leaves: Sequence[Tensor], spans: Sequence[Tensor], probes: int, generator: torch.Generator
) -> Tensor:
    """||J^T v||^2 per sample `[n]` float64, averaged over random signs v, for `rows` `[n, ...]` of the `leaves`.

    Samples of a batch do not read each other (where they would, a batch is one): one backward pass serves all of them.
    """
    total = torch.zeros(rows.shape[0], dtype=torch.float64)
    if not rows.requires_grad:  # it depends on integer inputs alone
        return total
    for _ in range(probes):
        signs = torch.randint(0, 2, rows.shape, generator=generator).to(rows).mul_(2).sub_(1)
        gradients = torch.autograd.grad(rows, leaves, signs, retain_graph=True, allow_unused=True)
        for gradient, span in zip(gradients, spans, strict=True):
            if gradient is not None:
                total += (gradient.double() * span).square().reshape(len(total), -1).sum(dim=1).cpu() / probes
    return total
