"""Task-aligned projection: only the directions that the cloud half uses most leave the device.

Of a vector h the device releases k numbers, z = E (h - m), and the cloud reads m + D z. `estimators.projection_fit`
chooses E and D such that the cloud half misses the rest the least. They are public: an attacker reads them in the plan,
so a released direction is hidden from nobody.

A `share` is taken of the directions *at each position*, where h holds the C channels: the map keeps its size, and with
it the picture's outlines. A `rank` counts directions of the *whole tensor*, where h holds everything that crosses of a
sample: a few numbers say what the cloud half needs, and nothing else is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from ..graph import from_samples, to_samples
from ..graph.precision import widened
from ..records import CollabplanError, Crossing, Layout, MismatchError, ProjectionRecord, hash_tensors
from .randomness import Randomness

MOST_CHANNELS = 2048
"""A share of the directions at each position is taken up to this width: the eigenvectors of a wider matrix cost
minutes."""

MOST_ELEMENTS = 65_536
"""A rank is taken of tensors up to this size: the device would have to hold and to run the matrix of a larger one."""

LOADING = {1: 1.224, 2: 1.048, 3: 1.805, 4: 2.370, 5: 2.832, 6: 3.230, 7: 3.584, 8: 3.907}
"""By bits, the end of the range on both sides of zero whose quantizer a Gaussian number of variance 1 loses least by;
what lies beyond is clipped. The criterion of Max (IRE Transactions on Information Theory 6, 1960), solved for the
wire's quantizer, which has a level at zero."""


def axis_of(crossing: Crossing) -> int:
    """The dimension of a sample that counts channels: the first of a vector or a map, the last of tokens."""
    layout = crossing.layout
    first = len(crossing.sample_shape) != 2 and (layout is None or layout.groups == 1)
    return 0 if first else len(crossing.sample_shape) - 1


def channels_of(crossing: Crossing) -> int:
    """Numbers at each position; 1 for a scalar."""
    return crossing.sample_shape[axis_of(crossing)] if crossing.sample_shape else 1


def width_of(crossing: Crossing, projection: ProjectionRecord) -> int:
    """Length of the vectors that are projected: a position's channels, or all of a sample."""
    return channels_of(crossing) if projection.rank is None else crossing.sample_elements


def can_narrow(crossing: Crossing, projection: ProjectionRecord) -> bool:
    """True where fewer directions than all can be released: private floating maps, tokens and vectors."""
    if not crossing.is_defended or crossing.layout is None:
        return False
    if projection.rank is not None:
        return projection.rank < crossing.sample_elements <= MOST_ELEMENTS
    return 2 <= channels_of(crossing) <= MOST_CHANNELS


def count_of(crossing: Crossing, projection: ProjectionRecord) -> int:
    """Directions of a vector that are released: at least one."""
    if projection.rank is not None:
        return projection.rank
    assert projection.share is not None  # one of the two
    return max(1, round(projection.share * channels_of(crossing)))


def code_of(crossing: Crossing, projection: ProjectionRecord) -> Crossing:
    """What is released in the place of a tensor: the same with fewer channels, or a vector in place of the whole."""
    if not can_narrow(crossing, projection):
        return crossing
    if projection.rank is not None and channels_of(crossing) < crossing.sample_elements:
        return crossing.model_copy(update={"sample_shape": (projection.rank,), "layout": Layout()})
    shape = list(crossing.sample_shape)
    shape[axis_of(crossing)] = count_of(crossing, projection)
    return crossing.model_copy(update={"sample_shape": tuple(shape)})


def vectors_of(crossing: Crossing, tensor: Tensor, *, whole: bool = False) -> Tensor:
    """A tensor in the graph's layout as `[samples x positions, C]`, or as `[samples, all numbers of one]`."""
    assert crossing.layout is not None  # `can_narrow` asks for one
    rows = to_samples(tensor, crossing.layout)
    return rows.flatten(1) if whole else rows.movedim(1 + axis_of(crossing), -1).flatten(0, -2)


@dataclass(frozen=True, eq=False)
class ProjectionMatrices:
    """The matrices of one cut, by node.

    Attributes:
        mean: `[C]` of each tensor's vectors; all numbers of a sample where a rank of the whole is kept.
        encode: `[k, C]`, from centred vectors to what is released.
        decode: `[C, k]`, back.
    """

    mean: Mapping[str, Tensor]
    encode: Mapping[str, Tensor]
    decode: Mapping[str, Tensor]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> ProjectionMatrices:
        """From what `tensors` gave.

        Raises:
            CollabplanError: names or shapes that do not belong together.
        """
        parts: dict[str, dict[str, Tensor]] = {"mean": {}, "encode": {}, "decode": {}}
        for name, tensor in tensors.items():
            node, _, part = name.rpartition("/")
            if part not in parts:
                raise CollabplanError(
                    f"{name!r} is no matrix of a projection; take the file that was written with the plan"
                )
            parts[part][node] = tensor
        found = cls(**parts)
        for node, mean in found.mean.items():
            encode, decode = found.encode.get(node), found.decode.get(node)
            if encode is None or decode is None or encode.shape[1:] != mean.shape or decode.T.shape != encode.shape:
                raise CollabplanError(f"the matrices of {node!r} do not fit together; take the plan's own file")
        return found

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All of them by `node/part`, as they are written to a file."""
        parts = {"mean": self.mean, "encode": self.encode, "decode": self.decode}
        return {f"{node}/{part}": each for part, given in parts.items() for node, each in given.items()}

    @cached_property
    def sha256(self) -> str:
        """Over names, shapes and bytes."""
        return hash_tensors(self.tensors)

    def require_fitting(self, crossing: Sequence[Crossing], projection: ProjectionRecord) -> None:
        """Refuse matrices of other tensors, or of another share or rank. Raises MismatchError."""
        wanted = {
            each.node: (count_of(each, projection), width_of(each, projection))
            for each in crossing
            if can_narrow(each, projection)
        }
        if wanted != {node: tuple(each.shape) for node, each in self.encode.items()}:
            raise MismatchError(
                f"the projection is of other tensors than {', '.join(wanted)}; take the plan's own file"
            )

    def encoded(self, crossing: Crossing, rows: Tensor) -> Tensor:
        """Rows `[N, *sample_shape]` as codes; tensors without matrices stay as they are. Gradients flow through."""
        if crossing.node not in self.encode:
            return rows
        wide = widened(rows)
        mean, matrix = (part[crossing.node].to(wide) for part in (self.mean, self.encode))
        if self._of_whole(crossing):
            return ((wide.flatten(1) - mean) @ matrix.T).to(rows.dtype)
        axis = 1 + axis_of(crossing)
        return ((wide.movedim(axis, -1) - mean) @ matrix.T).movedim(-1, axis).to(rows.dtype)

    def decoded(self, crossing: Crossing, codes: Tensor) -> Tensor:
        """The rows that codes stand for."""
        if crossing.node not in self.decode:
            return codes
        wide = widened(codes)
        mean, matrix = (part[crossing.node].to(wide) for part in (self.mean, self.decode))
        if self._of_whole(crossing):
            return (wide @ matrix.T + mean).reshape(-1, *crossing.sample_shape).to(codes.dtype)
        axis = 1 + axis_of(crossing)
        return (wide.movedim(axis, -1) @ matrix.T + mean).movedim(-1, axis).to(codes.dtype)

    def encoded_in_graph(self, crossing: Sequence[Crossing], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Crossing tensors in the graph's layout as codes; those of the whole tensor are rows."""
        return tuple(self._encoded_in_graph(each, tensor) for each, tensor in zip(crossing, tensors, strict=True))

    def decoded_in_graph(self, crossing: Sequence[Crossing], codes: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The inverse of `encoded_in_graph`, as far as there is one."""
        return tuple(self._decoded_in_graph(each, tensor) for each, tensor in zip(crossing, codes, strict=True))

    def _encoded_in_graph(self, crossing: Crossing, tensor: Tensor) -> Tensor:
        if crossing.layout is None or crossing.node not in self.encode:
            return tensor
        codes = self.encoded(crossing, to_samples(tensor, crossing.layout))
        return codes if self._of_whole(crossing) else from_samples(codes, crossing.layout)

    def _decoded_in_graph(self, crossing: Crossing, codes: Tensor) -> Tensor:
        if crossing.layout is None or crossing.node not in self.decode:
            return codes
        rows = codes if self._of_whole(crossing) else to_samples(codes, crossing.layout)
        return from_samples(self.decoded(crossing, rows), crossing.layout)

    def _of_whole(self, crossing: Crossing) -> bool:
        return len(self.mean[crossing.node]) != channels_of(crossing)


@dataclass(frozen=True, eq=False)
class ProjectionStage:
    """The projection of one cut. Payload and cost are known before `matrices` are fitted."""

    name: ClassVar[str] = "projection"
    revision: ClassVar[int] = 1
    search_values: ClassVar[tuple[float, ...]] = (0.25, 0.5)
    gather_nanoseconds: ClassVar[float] = 3.0
    product_nanoseconds: ClassVar[float] = 0.3
    """On the device, per number that goes in and per multiplication: see `planner.latency`."""

    record: ProjectionRecord
    matrices: ProjectionMatrices | None = None

    @property
    def fitted(self) -> ProjectionMatrices:
        """The matrices. Raises CollabplanError where none were fitted."""
        if self.matrices is None:
            raise CollabplanError(f"a {self.record.words} needs its matrices; fit them to the cut first")
        return self.matrices

    def codes(self, crossing: Crossing) -> Crossing:
        """What is released in the place of a tensor."""
        return code_of(crossing, self.record)

    def apply(self, rows: Tensor, crossing: Crossing, source: Randomness) -> Tensor:  # noqa: ARG002
        """Rows `[N, *sample_shape]` as codes."""
        return self.fitted.encoded(crossing, rows)

    def receive(self, rows: Tensor, crossing: Crossing) -> Tensor:
        """The rows that codes stand for."""
        return self.fitted.decoded(crossing, rows)

    def nanoseconds(self, crossing: Crossing) -> float:
        """Per sample, on the device."""
        products = self.codes(crossing).sample_elements * width_of(crossing, self.record)
        return self.gather_nanoseconds * crossing.sample_elements + self.product_nanoseconds * products
