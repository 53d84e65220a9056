"""Do derivatives explain how a crossing moves? White-box attacks rely on it: a dead gradient only looks like privacy.

Along a straight path a function without jumps moves by the integral of its derivative. A movement that the derivative
does not explain comes from rounding, signs, comparisons, codebooks or slopes too steep to be sampled. There the
gradient is zero or misleading, whatever a model's own backward (a straight-through estimator, a custom
`autograd.Function`) substitutes for it in training. Derivatives are taken in forward mode, so one run gives those of
every tensor.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from .ancestors import ancestors
from .batch_size import out_of_memory
from .cut import Cut
from .inputs import resize_batch
from .probes import is_constant, shuffled
from .traced_graph import InputSpec, TracedGraph

UNEXPLAINED = 0.2
"""Share of a small movement's energy that derivatives may leave unexplained; smooth networks leave less than 0.03."""

FAINT = 0.03
"""Least energy of the predicted movement, relative to a large movement's: below it, derivatives are nearly zero. In
smooth networks it is above 0.5."""

NEAR, FAR = 0.25, 1.0
"""Lengths of the small and the large movement, as a share of the way to another input."""

GAUSS = (0.5 - 3**0.5 / 6, 0.5 + 3**0.5 / 6)
"""Places on a stretch of the small movement where derivatives are taken, of equal weight (Gauss-Legendre)."""

STRETCHES = (1, 4)
"""Stretches that the small movement is divided into: more of them as long as derivatives seem dead. At a kink (ReLU,
max pooling) the quadrature is off by a share of the stretch: four stretches leave a tenth of the unexplained energy
or less. At a step they leave all of it."""

SAMPLES = (2, 64)
"""Least and most samples that the example inputs are repeated to, each with a direction of its own. Small inputs get
more: a step behind four numbers often does not move at all."""

NUMBERS = 4096
"""The most numbers of a tensor that are compared, drawn at random."""

ROUNDING, HALF_ROUNDING = 32, 8
"""Units of rounding that a deep network adds up. What derivatives leave unexplained below that is no step. In half
precision 32 units would be a quarter of a number."""


def dead_gradients(
    traced: TracedGraph, cuts: Sequence[Cut], batches: Sequence[Sequence[Tensor]] = ()
) -> dict[str, tuple[str, ...]]:
    """Crossings whose movement with the private floating inputs their derivatives do not explain.

    Args:
        traced: the traced model.
        cuts: cuts of this graph.
        batches: batches of data, each as the graph's placeholders take it and all of one size. Paths lead from each to
            the next. Default: from the example inputs to their numbers in another order.

    Returns:
        By crossing name, the operators where the derivative ends (`aten.round.default`...). Crossings with sound
        gradients, and crossings of integers, are left out.

    Examples:
        >>> from collabplan.graph import cut_of, dead_gradients, trace
        >>> class Rounded(torch.nn.Module):
        ...     def forward(self, x):
        ...         return torch.relu(torch.round(3 * x))
        >>> traced = trace(Rounded(), torch.linspace(-1, 1, 8).reshape(2, 4))
        >>> dead_gradients(traced, [cut_of(traced, ["round"])])
        {'round': ('aten.round.default',)}
    """
    wanted = {c.node: c.name for cut in cuts for c in cut.crossing if c.is_floating or c.is_complex}
    if not wanted:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for stretches in STRETCHES:
        run = _Run(traced.flat, wanted)
        for path in _paths(traced, batches):
            path.walk(run, stretches)
        blockers = _blockers(traced.flat.graph, run.movements)
        found = {name: tuple(sorted(blockers[node])) for node, name in wanted.items() if blockers[node]}
        if not found:
            break
    return found


@dataclass(frozen=True, eq=False)
class _Path:
    """A straight line through input space.

    Attributes:
        starts: by input, where it begins.
        ways: by input, the vector to its end; None: the input does not move.
    """

    starts: tuple[Tensor, ...]
    ways: tuple[Tensor | None, ...]

    @torch.no_grad()
    def walk(self, run: _Run, stretches: int) -> None:
        """Record values along the path, then derivatives on each stretch of the small movement."""
        for place in (0.0, NEAR, FAR):
            run.values(self._at(place), place)
        for place in [(stretch + share) / stretches for stretch in range(stretches) for share in GAUSS]:
            at = self._at(NEAR * place)
            with forward_ad.dual_level():
                pairs = zip(at, self.ways, strict=True)
                run.derivatives([x if way is None else forward_ad.make_dual(x, way) for x, way in pairs], place)  # type: ignore[no-untyped-call]

    def _at(self, place: float) -> list[Tensor]:
        pairs = zip(self.starts, self.ways, strict=True)
        return [start if way is None else start + place * way for start, way in pairs]


def _paths(traced: TracedGraph, batches: Sequence[Sequence[Tensor]]) -> list[_Path]:
    """From each batch to the next, the last to the first."""
    specs = traced.tensor_inputs
    if len(batches) < 2:
        batches = _reordered(traced, batches[0] if batches else None)
    found = []
    for starts, ends in zip(batches, [*batches[1:], batches[0]], strict=True):
        ways = [
            end.detach() - start.detach() if _moves(spec, start) else None
            for spec, start, end in zip(specs, starts, ends, strict=True)
        ]
        found.append(_Path(tuple(start.detach() for start in starts), tuple(ways)))
    return found


def _moves(spec: InputSpec, tensor: Tensor) -> bool:
    return not spec.public and _is_continuous(tensor)


def _is_continuous(tensor: Tensor) -> bool:
    """True for numbers that have derivatives: floating or complex ones."""
    return tensor.is_floating_point() or tensor.is_complex()


def _reordered(traced: TracedGraph, batch: Sequence[Tensor] | None) -> list[list[Tensor]]:
    """One batch, or the example inputs, and the same numbers in another order: inputs within the same range."""
    generator = torch.Generator().manual_seed(0)
    least, most = SAMPLES
    samples = max(least, min(most, NUMBERS // max(1, *(tensor.numel() for tensor in traced.example_inputs))))
    first, second = [], []
    for spec, given in zip(traced.tensor_inputs, batch or traced.example_inputs, strict=True):
        start = given
        if batch is None and traced.dynamic_batch and spec.batch_dim is not None:
            start = resize_batch(start, spec.batch_dim, samples)
        if _moves(spec, start) and is_constant(start):  # slopes at zero are often special
            start = start + torch.randn(start.shape, generator=generator).to(start)
        first.append(start)
        second.append(shuffled(start, generator))
    return [first, second]


@dataclass(eq=False)
class _Movement:
    """Some numbers of one tensor along paths, float64.

    Attributes:
        rounding: how far layers that round may move it, relative to its size; 0 for integers.
        values: by place on the path, one entry a path.
        slopes: by place on the small movement, derivatives towards the path's end.
    """

    rounding: float
    values: dict[float, list[Tensor]] = field(default_factory=dict)
    slopes: dict[float, list[Tensor]] = field(default_factory=dict)

    @property
    def explained(self) -> bool:
        """True where derivatives explain how it moves, or it does not move."""
        lists = [*self.values.values(), *self.slopes.values()]
        if any(len({each.shape for each in path}) > 1 for path in zip(*lists, strict=True)):
            return False  # its size depends on values
        numbers = torch.stack([torch.cat(each) for each in lists])
        start, near, far, *slopes = numbers[:, torch.isfinite(numbers).all(dim=0)]
        least = _energy(start) * self.rounding**2
        small, large, slope = near - start, far - start, torch.stack(slopes)
        if _energy(small - NEAR * slope.mean(dim=0)) > max(UNEXPLAINED * _energy(small), least):
            return False
        return _energy(large) <= least or _energy(slope) / len(slope) >= FAINT * _energy(large)


def _energy(numbers: Tensor) -> float:
    return float(numbers.square().sum())


class _Run(fx.Interpreter):
    """Runs the graph as far as `wanted`, on values or on values with tangents, and records every node."""

    def __init__(self, flat: fx.GraphModule, wanted: Iterable[str]) -> None:
        super().__init__(flat)
        self.movements: dict[str, _Movement] = {}
        ends = set(wanted)
        self.needed = ancestors(node for node in flat.graph.nodes if node.name in ends)

    def values(self, inputs: Sequence[Tensor], place: float) -> None:
        """Record the values for these inputs, which are at this place of a path."""
        self.tangents, self.place = False, place
        self.run(*inputs, enable_io_processing=False)

    def derivatives(self, inputs: Sequence[Tensor], place: float) -> None:
        """Record the derivatives along the tangents of these inputs."""
        self.tangents, self.place = True, place
        self.run(*inputs, enable_io_processing=False)

    def run_node(self, n: fx.Node) -> Any:
        if n.op != "placeholder" and n not in self.needed:
            return None
        try:
            result = super().run_node(n)
        except RuntimeError as error:  # NotImplementedError is one: the operator has no forward derivative
            if not self.tangents or out_of_memory(error):
                raise
            result = self._differenced(n)
        if isinstance(result, Tensor):
            self._record(n.name, result)
        return result

    def _record(self, name: str, result: Tensor) -> None:
        value, tangent = forward_ad.unpack_dual(result) if self.tangents else (result, None)  # type: ignore[no-untyped-call]
        if name not in self.movements:
            self.movements[name] = _Movement(_rounding(value.dtype) if _is_continuous(value) else 0.0)
        movement = self.movements[name]
        if not self.tangents:
            movement.values.setdefault(self.place, []).append(_numbers(value))
        else:
            slope = torch.zeros_like(value) if tangent is None else tangent
            movement.slopes.setdefault(self.place, []).append(_numbers(slope))

    def _differenced(self, n: fx.Node) -> Any:
        """The node's result with tangents by central differences."""
        leaves, structure = pytree.tree_flatten(self.fetch_args_kwargs_from_env(n))
        pairs = [forward_ad.unpack_dual(leaf) if isinstance(leaf, Tensor) else (leaf, None) for leaf in leaves]  # type: ignore[no-untyped-call]
        steps = [_step(value, tangent) for value, tangent in pairs if tangent is not None]
        step = min((each for each in steps if each), default=0.0)  # no argument may move far

        def at(shift: float) -> Any:
            moved = [value if tangent is None else value + shift * tangent for value, tangent in pairs]
            args, kwargs = pytree.tree_unflatten(moved, structure)
            return self.call_function(n.target, args, kwargs)

        def with_tangent(middle: Any, up: Any, down: Any) -> Any:
            if not isinstance(middle, Tensor) or not _is_continuous(middle):
                return middle
            return forward_ad.make_dual(middle, (up - down) / (2 * step))  # type: ignore[no-untyped-call]

        return pytree.tree_map(with_tangent, at(0.0), at(step), at(-step)) if step else at(0.0)


def _rounding(dtype: torch.dtype) -> float:
    precision = torch.finfo(dtype)
    return precision.eps * (HALF_ROUNDING if precision.bits == 16 else ROUNDING)


def _step(value: Tensor, tangent: Tensor) -> float:
    """The step along `tangent` of a central difference, balancing rounding and curvature; 0: nothing moves."""
    way = float(tangent.abs().max()) if tangent.numel() else 0.0
    size = float(value.detach().abs().max()) if way else 0.0
    return float(torch.finfo(value.dtype).eps ** (1 / 3)) * (size or way) / way if way else 0.0


def _numbers(tensor: Tensor) -> Tensor:
    """Some of a tensor's numbers in float64, always the same ones, on the CPU. A complex number counts as two."""
    tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    flat = tensor.detach().reshape(-1)
    if flat.numel() > NUMBERS:
        chosen = torch.randint(flat.numel(), (NUMBERS,), generator=torch.Generator().manual_seed(0))
        flat = flat[chosen.to(flat.device)]
    return flat.cpu().to(torch.float64)  # an Apple GPU has no float64


def _blockers(graph: fx.Graph, movements: Mapping[str, _Movement]) -> dict[str, frozenset[str]]:
    """By node, the operators where its derivative ends; empty for a node whose derivatives explain its movement."""
    none: frozenset[str] = frozenset()
    found: dict[str, frozenset[str]] = {}
    behind: dict[str, frozenset[str]] = {}  # by node, the union over all that it depends on
    for node in graph.nodes:
        sources = [each.name for each in node.all_input_nodes]
        before, far_before = (none.union(*(of[source] for source in sources)) for of in (found, behind))
        movement = movements.get(node.name)
        if movement is None:  # several results: each is examined at its own `getitem`
            found[node.name] = before
        elif movement.explained:
            found[node.name] = none
        else:
            maker: Any = node.args[0] if node.target is operator.getitem else node
            found[node.name] = before or far_before | {str(maker.target)}
        behind[node.name] = far_before | found[node.name]
    return found
