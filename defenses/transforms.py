"""The stages that make codes of what crosses: a projection, then custom stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ..graph import from_samples, to_samples
from ..records import CollabplanError, Crossing
from .interface import NO_RANDOMNESS, CustomStage, LabelledRandomness
from .projection import ProjectionStage, can_narrow
from .randomness import Randomness

Transform = ProjectionStage | CustomStage


@dataclass(frozen=True)
class _Step:
    """One stage at one tensor; `place` counts from the last transform, 1 being the last."""

    stage: Transform
    place: int
    before: Crossing
    after: Crossing

    @property
    def acts(self) -> bool:
        if isinstance(self.stage, ProjectionStage):
            return can_narrow(self.before, self.stage.record)
        return is_transformed(self.before)

    @property
    def nanoseconds(self) -> float:
        """Per sample, on the device."""
        if isinstance(self.stage, ProjectionStage):
            return self.stage.nanoseconds(self.before)
        return self.stage.nanoseconds_per_number * self.before.sample_elements

    def applied(self, rows: Tensor, source: Randomness) -> Tensor:
        """Rows `[N, *sample_shape]` through the stage."""
        if isinstance(self.stage, ProjectionStage):
            return self.stage.apply(rows, self.before, source)
        # Counted from the end, a stage draws the same numbers however its defense is divided.
        prefix = f"stage:{self.stage.name}/{self.place}/{self.before.node}/"
        labelled = LabelledRandomness(source, prefix) if self.stage.random else NO_RANDOMNESS
        return self.stage.apply(rows, self.before, labelled)

    def expected(self, rows: Tensor) -> Tensor:
        """The mean of `applied`, with gradients. Raises CollabplanError where the stage does not say."""
        if isinstance(self.stage, ProjectionStage):
            return self.stage.apply(rows, self.before, NO_RANDOMNESS)
        found = self.stage.expected(rows, self.before)
        if found is None:
            raise CollabplanError(f"stage {self.stage.name} does not say what it releases on average (`expected`)")
        return found


@dataclass(frozen=True)
class Transforms:
    """Stages over the tensors that cross. Tensors of other kinds than `is_transformed` pass them as they are."""

    stages: tuple[Transform, ...]
    crossing: tuple[Crossing, ...]

    @cached_property
    def codes(self) -> tuple[Crossing, ...]:
        """What the last stage makes of each tensor."""
        return tuple(steps[-1].after if steps else c for c, steps in zip(self.crossing, self._steps, strict=True))

    @property
    def acts(self) -> bool:
        """True where a custom stage acts on any tensor, or a projection changes a shape."""
        return any(step.acts for steps in self._steps for step in steps)

    @property
    def steady(self) -> int:
        """How many of the first stages draw nothing."""
        drawn = [at for at, stage in enumerate(self.stages) if isinstance(stage, CustomStage) and stage.random]
        return drawn[0] if drawn else len(self.stages)

    @property
    def draws(self) -> bool:
        """True where a stage draws random numbers for any tensor."""
        return self.steady < len(self.stages) and any(is_transformed(crossing) for crossing in self.crossing)

    def first(self, count: int) -> Transforms:
        """The first `count` stages alone. What they draw is labelled as by all of them."""
        return Transforms(self.stages[:count], self.crossing)

    def apply(self, tensors: Sequence[Tensor], source: Randomness) -> tuple[Tensor, ...]:
        """Tensors in the graph's layout as codes in theirs."""

        def through(step: _Step, tensor: Tensor) -> Tensor:
            assert step.before.layout is not None  # of a private tensor
            rows = step.applied(to_samples(tensor, step.before.layout), source)
            return rows if step.after.layout is None else from_samples(rows, step.after.layout)

        return tuple(self._through(tensors, through))

    def apply_rows(self, rows: Sequence[Tensor], source: Randomness) -> list[Tensor]:
        """The same for rows `[N, *sample_shape]` of each tensor. Gradients flow through differentiable stages."""
        return self._through(rows, lambda step, row: step.applied(row, source))

    def expected_rows(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The mean of `apply_rows` over its draws, with gradients.

        Raises:
            CollabplanError: a custom stage does not say what it releases on average.
        """
        return self._through(rows, lambda step, row: step.expected(row))

    def receive(self, codes: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What codes stand for, in the graph's layout: the last stage is undone first."""
        made = []
        for tensor, steps in zip(codes, self._steps, strict=True):
            for step in reversed(steps):
                if step.acts:
                    assert step.before.layout is not None
                    rows = tensor if step.after.layout is None else to_samples(tensor, step.after.layout)
                    tensor = from_samples(step.stage.receive(rows, step.before), step.before.layout)
            made.append(tensor)
        return tuple(made)

    def receive_rows(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """The same for rows `[N, *sample_shape]`."""
        made = []
        for row, steps in zip(codes, self._steps, strict=True):
            for step in reversed(steps):
                row = step.stage.receive(row, step.before) if step.acts else row
            made.append(row)
        return made

    def nanoseconds(self) -> list[float]:
        """Per sample, what each stage costs the device at each tensor that it acts on; stage by stage."""
        steps = [step for steps in self._steps for step in steps if step.acts]
        return [step.nanoseconds for step in sorted(steps, key=lambda step: -step.place)]

    @cached_property
    def _steps(self) -> tuple[tuple[_Step, ...], ...]:
        """By tensor, the stages in their order."""
        return tuple(tuple(self._along(crossing)) for crossing in self.crossing)

    def _along(self, crossing: Crossing) -> Iterator[_Step]:
        for at, stage in enumerate(self.stages):
            acts = isinstance(stage, ProjectionStage) or is_transformed(crossing)
            code = stage.codes(crossing) if acts else crossing
            yield _Step(stage, len(self.stages) - at, crossing, code)
            crossing = code

    def _through(self, tensors: Sequence[Tensor], step_of: Callable[[_Step, Tensor], Tensor]) -> list[Tensor]:
        made = []
        for tensor, steps in zip(tensors, self._steps, strict=True):
            for step in steps:
                tensor = step_of(step, tensor) if step.acts else tensor
            made.append(tensor)
        return made


def is_transformed(crossing: Crossing) -> bool:
    """True for the tensors that custom stages act on: private floating ones that are no raw input."""
    return crossing.is_defended and crossing.layout is not None
