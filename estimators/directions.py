"""Task-aligned release: of the numbers at every position, only some directions leave the device.

At each position a crossing tensor holds a vector h of C channels. Released are k numbers, z = E (h - m), and what is
read back is m + D z. `directions_fit.py` chooses E and D such that the cloud half misses the rest the least. They are
public: an attacker reads them in the plan, so a direction that is released is hidden from nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ..graph import from_samples, to_samples
from ..records import CollabplanError, Crossing, MismatchError, hash_tensors

MOST_CHANNELS = 2048
"""Of wider vectors no directions are taken: the eigenvectors of such a matrix cost minutes."""


def axis_of(crossing: Crossing) -> int:
    """The dimension of a sample that counts channels: the first of a vector or a map, the last of tokens."""
    layout = crossing.layout
    first = len(crossing.sample_shape) != 2 and (layout is None or layout.groups == 1)
    return 0 if first else len(crossing.sample_shape) - 1


def channels_of(crossing: Crossing) -> int:
    """Numbers at each position; 1 for a scalar."""
    return crossing.sample_shape[axis_of(crossing)] if crossing.sample_shape else 1


def can_narrow(crossing: Crossing) -> bool:
    """True where fewer directions than all can be released: private floating maps, tokens and vectors."""
    private = crossing.is_floating and not crossing.public and not crossing.raw_input
    return private and crossing.layout is not None and 2 <= channels_of(crossing) <= MOST_CHANNELS


def code_of(crossing: Crossing, kept: float) -> Crossing:
    """What is released in the place of a tensor: the same with a share `kept` of its channels, at least one."""
    if kept == 1 or not can_narrow(crossing):
        return crossing
    shape = list(crossing.sample_shape)
    shape[axis_of(crossing)] = max(1, round(kept * channels_of(crossing)))
    return crossing.model_copy(update={"sample_shape": tuple(shape)})


@dataclass(frozen=True, eq=False)
class Directions:
    """The matrices of one cut, by node.

    Attributes:
        mean: `[C]` of each tensor's vectors.
        encode: `[k, C]`, from centred vectors to what is released.
        decode: `[C, k]`, back.
    """

    mean: Mapping[str, Tensor]
    encode: Mapping[str, Tensor]
    decode: Mapping[str, Tensor]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Directions:
        """From what `tensors` gave.

        Raises:
            CollabplanError: names or shapes that do not belong together.
        """
        parts: dict[str, dict[str, Tensor]] = {"mean": {}, "encode": {}, "decode": {}}
        for name, tensor in tensors.items():
            node, _, part = name.rpartition("/")
            if part not in parts:
                raise CollabplanError(
                    f"{name!r} is no matrix of directions; take the file that was written with the plan"
                )
            parts[part][node] = tensor
        found = cls(**parts)
        for node, mean in found.mean.items():
            encode, decode = found.encode.get(node), found.decode.get(node)
            if encode is None or decode is None or encode.shape[1:] != mean.shape or decode.T.shape != encode.shape:
                raise CollabplanError(f"the directions of {node!r} do not fit together; take the plan's own file")
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

    def require_fitting(self, crossing: Sequence[Crossing], kept: float) -> None:
        """Refuse matrices of other tensors, or of another share. Raises MismatchError."""
        wanted = {
            each.node: (code_of(each, kept).sample_shape[axis_of(each)], channels_of(each))
            for each in crossing
            if can_narrow(each)
        }
        if wanted != {node: tuple(each.shape) for node, each in self.encode.items()}:
            raise MismatchError(
                f"the directions are of other tensors than {', '.join(wanted)}; take the plan's own file"
            )

    def encoded(self, crossing: Crossing, rows: Tensor) -> Tensor:
        """Rows `[N, *sample_shape]` as codes; tensors without directions stay as they are. Gradients flow through."""
        if crossing.node not in self.encode:
            return rows
        return _along(crossing, rows, self.encode[crossing.node], before=self.mean[crossing.node])

    def decoded(self, crossing: Crossing, codes: Tensor) -> Tensor:
        """The rows that codes stand for."""
        if crossing.node not in self.decode:
            return codes
        return _along(crossing, codes, self.decode[crossing.node], after=self.mean[crossing.node])

    def encoded_in_graph(self, crossing: Sequence[Crossing], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Crossing tensors as codes, both in the graph's layout."""
        return tuple(_in_graph(self.encoded, each, tensor) for each, tensor in zip(crossing, tensors, strict=True))

    def decoded_in_graph(self, crossing: Sequence[Crossing], codes: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Codes as crossing tensors, both in the graph's layout."""
        return tuple(_in_graph(self.decoded, each, tensor) for each, tensor in zip(crossing, codes, strict=True))


def _along(
    crossing: Crossing, rows: Tensor, matrix: Tensor, before: Tensor | None = None, after: Tensor | None = None
) -> Tensor:
    """`matrix` on the channels of every position of `rows`: `before` is subtracted first, `after` added then."""
    axis = 1 + axis_of(crossing)
    moved = rows.movedim(axis, -1)
    if before is not None:
        moved = moved - before.to(rows)
    moved = moved @ matrix.to(rows).T
    if after is not None:
        moved = moved + after.to(rows)
    return moved.movedim(-1, axis)


def _in_graph(change: Callable[[Crossing, Tensor], Tensor], crossing: Crossing, tensor: Tensor) -> Tensor:
    if crossing.layout is None or not can_narrow(crossing):
        return tensor
    return from_samples(change(crossing, to_samples(tensor, crossing.layout)), crossing.layout)
