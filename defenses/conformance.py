"""What a defense stage must keep, checked on stages of anybody.

    from collabplan.defenses.conformance import check_stage
    check_stage(MyStage(limit=0.5))

Each check raises AssertionError with one sentence. A stage is tried on a feature map, a token sequence and a vector, at
the same size for every input, one sample at a time and many, with seeded and with keyed numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from ..records import CollabplanError, Crossing, DefenseRecord, Layout, StageRecord
from ..records.revisions import check_declared
from .catalogue import custom_stage, register
from .interface import CustomStage
from .pipeline import Defense
from .randomness import Keyed, Simulated

SHAPES = ((6, 5, 5), (7, 8), (32,))
SAMPLES, DRAWS = 16, 400
SECRET = bytes(range(32))

COSTLIER = 10.0
"""How many times longer than declared `apply` may take, on tensors large enough to time."""


def check_stage(stage: CustomStage | StageRecord) -> None:
    """Run every check that applies to a stage: one of your own, or the record of a built-in one.

    Raises:
        AssertionError: a check fails; the message says which and how.

    Examples:
        >>> from collabplan.records import DropoutRecord
        >>> check_stage(DropoutRecord(granularity="element", rate=0.3))
    """
    if isinstance(stage, CustomStage):
        register(stage)
        check_declaration(stage)
    for defense, rows in _cases(stage):
        check_payload(defense, rows)
        check_repeatable(defense, rows)
        check_samples_apart(defense, rows)
        check_unbiased(defense, rows, stage)
        check_law(defense, rows)
    if isinstance(stage, CustomStage):
        check_labels(stage)
        check_cost(stage)


def check_declaration(stage: CustomStage) -> None:
    """Name and revision are declared, and the record makes an equal stage."""
    check_declared(stage, "a stage")
    again = custom_stage(stage.record)
    assert again.record == stage.record, f"{stage.name}: its record makes {again.record}, not {stage.record}"
    assert stage.nanoseconds_per_number >= 0, f"{stage.name}: a cost is not negative"


def check_payload(defense: Defense, rows: Tensor) -> None:
    """What leaves has the shape, dtype and size that were declared, whatever the input is."""
    code = defense.tail.crossing[0]
    for given in (rows, torch.zeros_like(rows), 100 * rows):
        (released,) = defense.release([given], _seeded(0))
        assert tuple(released.shape) == (len(rows), *code.sample_shape), (
            f"{_name(defense)}: releases {tuple(released.shape[1:])} and declares {code.sample_shape}"
        )
        if defense.record.quantizer is None:
            dtype = getattr(torch, code.dtype)
            assert released.dtype == dtype, f"{_name(defense)}: releases {released.dtype} and declares {dtype}"
        assert bool(torch.isfinite(released.double()).all()), f"{_name(defense)}: releases NaN or infinity"


def check_repeatable(defense: Defense, rows: Tensor) -> None:
    """One seed, one release; two seeds, two, exactly where the stage says that it is random."""
    first, again, other = (defense.release([rows], _seeded(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again), f"{_name(defense)}: the same seed gives another release"
    said = defense.randomizes
    assert torch.equal(first, other) != said, (
        f"{_name(defense)}: releases {'do not ' if said else ''}differ, and it says random={said}"
    )


def check_samples_apart(defense: Defense, rows: Tensor) -> None:
    """A sample's release does not depend on the other samples of its batch."""
    inputs = torch.arange(len(rows))[:, None]

    def released(chosen: Tensor) -> Tensor:
        record = defense.record.model_copy(update={"masks": "keyed"} if defense.randomizes else {})
        source = Keyed(SECRET, b"conformance", inputs[chosen])
        return Defense(record, defense.crossing, defense.matrices).release([rows[chosen]], source)[0]

    together, backwards = released(torch.arange(len(rows))), released(torch.arange(len(rows)).flip(0)).flip(0)
    assert torch.equal(together, backwards), f"{_name(defense)}: a release depends on the order of the samples"
    one = released(torch.tensor([3]))
    close = torch.allclose(together[3:4].double(), one.double(), atol=1e-5, rtol=1e-4)
    assert close, f"{_name(defense)}: a sample is released differently alone than in a batch"


def check_unbiased(defense: Defense, rows: Tensor, stage: CustomStage | StageRecord) -> None:
    """`receive` of many releases averages to the rows, where the stage says so; of built-in ones dropout and noise."""
    unbiased = stage.unbiased if isinstance(stage, CustomStage) else stage.stage in ("dropout", "noise")
    if not unbiased:
        return
    source = _seeded(3)
    total = sum(defense.simulate([rows], source)[0].double() for _ in range(DRAWS)) / DRAWS
    spread = torch.stack([defense.simulate([rows], source)[0].double() for _ in range(8)]).var(dim=0).mean()
    off = float((total - rows.double()).square().mean())
    allowed = 3 * float(spread) / DRAWS + 1e-9 * float(rows.double().square().mean()) + 1e-12
    assert off <= allowed, f"{_name(defense)}: says it is unbiased and is off by {math.sqrt(off):.3g} on average"


def check_law(defense: Defense, rows: Tensor) -> None:
    """Where a likelihood is declared it is a law: its mean over what is released is that of the true rows at most."""
    if defense.record.customs or not defense.has_density:
        return
    few = rows[:8]
    private = defense.private
    released = private.release([few], _seeded(4))
    found = private.log_likelihood(released, [few])
    own = found.diagonal().mean()
    others = found[~torch.eye(len(few), dtype=torch.bool)].mean()
    assert float(own) > float(others), f"{_name(defense)}: a release is likelier under other inputs than its own"
    # E[p(t | y) / p(t | x)] = 1 over releases t of x, whatever y is (y's law has the same support).
    drawn = torch.cat([private.release([few[:1, ...]], _seeded(seed))[0] for seed in range(DRAWS)])
    near = few[:1] + 1e-3 * few[:1].abs().mean()
    both = private.log_likelihood([drawn], [torch.cat([few[:1], near])])
    ratio = float((both[:, 1] - both[:, 0]).exp().mean())
    assert abs(ratio - 1) < 0.3, f"{_name(defense)}: its likelihood is no law: a mean ratio of {ratio:.3g} and not 1"


def check_labels(stage: CustomStage) -> None:
    """The same stage twice draws different numbers at each place."""
    if not stage.random:
        return
    crossing, rows = _crossing(SHAPES[0]), _rows(SHAPES[0])
    if stage.codes(crossing) != crossing:
        return

    class Spy(Simulated):
        def uniform(self, name: str, shape: object) -> Tensor:
            names.append(name)
            return super().uniform(name, shape)  # type: ignore[arg-type]

        def normal(self, name: str, shape: object) -> Tensor:
            names.append(name)
            return super().normal(name, shape)  # type: ignore[arg-type]

    names: list[str] = []
    Defense(DefenseRecord.of(stage.record, stage.record), (crossing,)).release([rows], Spy(_seeded(0)))
    assert len(names) == len(set(names)), f"{stage.name}: asks twice for numbers called {names[0]!r}"


def check_cost(stage: CustomStage) -> None:
    """`apply` takes no more than `COSTLIER` times what `nanoseconds_per_number` declares."""
    shape = (64, 28, 28)
    rows, crossing = _rows(shape, samples=4), _crossing(shape)
    taken = math.inf
    for _ in range(5):
        started = time.perf_counter()
        Defense(DefenseRecord.of(stage.record), (crossing,)).transforms.apply_rows([rows], Simulated(_seeded(0)))
        taken = min(taken, time.perf_counter() - started)
    spent_ns = 1e9 * taken / rows.numel()
    declared = max(stage.nanoseconds_per_number, 1.0)
    assert spent_ns <= COSTLIER * declared, (
        f"{stage.name}: takes {spent_ns:.0f} ns per number here and declares {stage.nanoseconds_per_number:g}"
    )


def _cases(stage: CustomStage | StageRecord) -> Iterator[tuple[Defense, Tensor]]:
    """The stage alone, calibrated, at each shape that it accepts."""
    record = stage.record if isinstance(stage, CustomStage) else stage
    for shape in SHAPES:
        rows, crossing = _rows(shape), _crossing(shape)
        if record.stage == "projection":
            continue  # its matrices are fitted to a model; tests/estimators/test_projection_fit.py checks these
        try:
            defense = Defense(DefenseRecord.of(record), (crossing,)).calibrate([rows])
        except CollabplanError as error:
            raise AssertionError(f"{record.text}: {error}") from error
        yield defense, rows


def _name(defense: Defense) -> str:
    return f"{defense.record.stages[0].text} at {defense.crossing[0].sample_shape}"


def _crossing(shape: tuple[int, ...]) -> Crossing:
    return Crossing(name="h", node="h", dtype="float32", sample_shape=shape, layout=Layout())


def _rows(shape: tuple[int, ...], samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, *shape, generator=_seeded(7))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CHECKS = (check_declaration, check_payload, check_repeatable, check_samples_apart, check_unbiased, check_law,
          check_labels, check_cost)  # fmt: skip
"""All of them; `check_stage` runs those that apply."""
