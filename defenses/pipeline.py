"""A defense bound to the tensors that cross one cut: what the device releases, and what the cloud reads.

Stages act in the order of `records.ORDER`. A projection and custom stages *transform* what crosses into codes; dropout,
noise and the quantizer then act on these. That rest is the `tail`: its law is known exactly, so bounds, likelihoods and
nested masks are computed for it, over the codes. The randomness of custom stages is never credited by a bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..graph import Cut, from_samples, to_samples
from ..records import (
    CollabplanError,
    Crossing,
    CutError,
    DefenseRecord,
    Layout,
    MismatchError,
    TensorRange,
)
from .catalogue import custom_stage
from .densities import Law, Noise, NoiseToNearest, StochasticRounding, log_likelihood
from .dropout import DropoutStage
from .floor import Floor
from .interface import Stage
from .noise import NoiseStage
from .projection import LOADING, ProjectionMatrices, ProjectionStage, can_narrow
from .quantizer import Quantizer, QuantizerStage
from .randomness import Fresh, Keyed, Randomness, Simulated
from .seeds import generator_for
from .transforms import Transforms

MARGIN_STDS = 4.0
"""With noise the quantizer's range is widened by this many standard deviations on both sides. At the range's very end
3e-5 of the elements are then clipped (Laplace: 2e-3); wider would cost more in the step than it saves in clipping."""


@dataclass(frozen=True)
class Defense:
    """A defense bound to the tensors that cross one cut.

    Stages act on private floating tensors. A raw private input is quantized like the rest, as any honest cloud-only
    client would, but nothing else is done to it: its leakage is 1 in any case. Public and integer tensors pass as they
    are.

    Tensors go in and come out in the graph's own layout, one per crossing and in its order. Shapes, bytes and costs of
    what is released are known without `matrices`; releasing anything through a projection takes them. The rest behind a
    projection keeps them, as the mark of what its codes are.
    """

    record: DefenseRecord
    crossing: tuple[Crossing, ...]
    matrices: ProjectionMatrices | None = None

    def __post_init__(self) -> None:
        for crossing in self.crossing:
            if not crossing.public and crossing.layout is None:
                raise CutError(
                    f"{crossing.name} cannot be divided into samples, so no defense can act on it; choose another cut"
                )

    @classmethod
    def for_cut(cls, record: DefenseRecord, cut: Cut) -> Defense:
        """`record` at `cut`. The outputs of the edge-only cut pass as they are: there is no cut to defend."""
        return cls(DefenseRecord() if cut.kind == "edge-only" else record, cut.crossing)

    @classmethod
    def bound(
        cls, record: DefenseRecord, crossing: tuple[Crossing, ...], matrices: ProjectionMatrices | None
    ) -> Defense:
        """A calibrated `record` as a plan holds it, with its matrices.

        Raises:
            MismatchError: other matrices than those that the record names, or of other tensors.
        """
        named = None if record.projection is None else record.projection.matrices
        if named != (None if matrices is None else matrices.sha256):
            raise MismatchError("this is not the projection that the plan was measured with; take its own file")
        if matrices is not None and record.projection is not None:
            matrices.require_fitting(crossing, record.projection)
        return cls(record, crossing, matrices)

    def with_matrices(self, matrices: ProjectionMatrices) -> Defense:
        """The same with these matrices of its projection, not yet calibrated."""
        assert self.record.projection is not None
        named = self.record.projection.model_copy(update={"matrices": matrices.sha256})
        return replace(self, record=self.record.replacing(named), matrices=matrices)

    def with_ranges(self, ranges: Sequence[TensorRange]) -> Defense:
        """The same, calibrated."""
        return replace(self, record=self.record.model_copy(update={"ranges": tuple(ranges)}))

    # stages -------------------------------------------------------------------------------------------

    @cached_property
    def transforms(self) -> Transforms:
        """The stages before the tail: the projection, then custom ones.

        Raises:
            RecordError: a custom stage that this process does not know.
        """
        projection = self.record.projection
        first = () if projection is None else (ProjectionStage(projection, self.matrices),)
        return Transforms((*first, *(custom_stage(each) for each in self.record.customs)), self.crossing)

    def after(self, count: int) -> Defense:
        """The rest of the defense behind its first `count` transforms, over the codes that these make."""
        if not count:
            return self
        rest = self.record.model_copy(update={"stages": self.record.stages[count:]})
        if not rest.may_draw:
            rest = rest.model_copy(update={"masks": "fresh"})
        return Defense(rest, self.transforms.first(count).codes, self.matrices)

    @cached_property
    def tail(self) -> Defense:
        """Dropout, noise and quantizer over what the transforms make."""
        return self.after(len(self.transforms.stages))

    @cached_property
    def codes_key(self) -> str:
        """Names what the tail acts on: defenses of one key at one cut share their codes."""
        transforms = self.record.without("dropout", "noise", "quantizer").model_copy(update={"ranges": ()})
        return transforms.model_dump_json(exclude={"masks"})

    @cached_property
    def dropout(self) -> DropoutStage | None:
        """The dropout, if there is one."""
        return None if self.record.dropout is None else DropoutStage(self.record.dropout)

    @cached_property
    def _noise_stage(self) -> NoiseStage | None:
        return None if self.record.noise is None else NoiseStage(self.record.noise, self._ranges)

    @cached_property
    def _quantizer_stage(self) -> QuantizerStage | None:
        if self.record.quantizer is None:
            return None
        made = {c.node: q for c, q in zip(self.crossing, self.quantizers, strict=True) if q is not None}
        return QuantizerStage(self.record.quantizer, made)

    @cached_property
    def _ranges(self) -> dict[str, TensorRange]:
        return {found.node: found for found in self.record.ranges}

    # what acts on what ---------------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """Probability that an element or channel is dropped; 0 without dropout."""
        return self.record.rate

    def drops(self, crossing: Crossing) -> bool:
        """True for the tensors that dropout acts on."""
        return self.record.dropout is not None and crossing.is_defended

    def noises(self, crossing: Crossing) -> bool:
        """True for the tensors that get noise."""
        return self.record.noise is not None and crossing.is_defended

    def noise(self, crossing: Crossing) -> Noise | None:
        """The noise that a tensor gets, in its own units; None for what gets none.

        Raises:
            CollabplanError: the tensor has no range yet.
        """
        if self._noise_stage is None or not self.noises(crossing):
            return None
        self._range(crossing)
        return self._noise_stage.law(crossing)

    @property
    def randomizes(self) -> bool:
        """True where two releases of the same tensors may differ."""
        rounds = self.record.rounds_randomly
        acted_on = (self.drops(c) or self.noises(c) or (rounds and c.is_quantized) for c in self.crossing)
        return self.transforms.draws or any(acted_on)

    @property
    def repeats(self) -> bool:
        """True where many releases of one input tell more than one does: they differ, and are not keyed."""
        return self.randomizes and self.record.masks == "fresh"

    @property
    def only_drops(self) -> bool:
        """True where dropout is all that is random: a number that was not dropped is released the same each time."""
        drops, noises = (any(acts(crossing) for crossing in self.crossing) for acts in (self.drops, self.noises))
        return drops and not noises and not self.record.rounds_randomly and not self.transforms.draws

    @property
    def changes(self) -> bool:
        """False where every tensor crosses exactly as it is."""
        quantizes = self.record.quantizer is not None and any(c.is_quantized for c in self.crossing)
        return self.randomizes or quantizes or self.transforms.acts

    @property
    def distance_factor(self) -> float | None:
        """See `DropoutStage.distance_factor`; 1.0 without dropout."""
        return 1.0 if self.dropout is None else self.dropout.distance_factor

    @cached_property
    def private(self) -> Defense:
        """The same defense over the private crossings alone, taking one row per sample in place of their layout."""
        kept = [c.model_copy(update={"layout": Layout()}) for c in self.crossing if not c.public]
        return Defense(self.record, tuple(kept), self.matrices)

    # release and receive -------------------------------------------------------------------------------

    @cached_property
    def quantizers(self) -> tuple[Quantizer | None, ...]:
        """One per crossing; None where tensors cross in their own dtype. With noise its range is wider.

        Raises:
            CollabplanError: a tensor has no range yet.
        """
        return tuple(self._quantizer(crossing) for crossing in self.crossing)

    def _quantizer(self, crossing: Crossing) -> Quantizer | None:
        if self.record.quantizer is None or not crossing.is_quantized:
            return None
        found, noise, bits = self._range(crossing), self.noise(crossing), self.record.quantizer.bits
        if noise is None:
            return Quantizer.from_range(found.low, found.high, bits)
        margin = MARGIN_STDS * noise.std
        return Quantizer.from_range(min(found.low, 0.0) - margin, max(found.high, 0.0) + margin, bits)

    def _range(self, crossing: Crossing) -> TensorRange:
        found = self._ranges.get(crossing.node)
        if found is None:
            raise CollabplanError(f"the defense has no range for {crossing.name}; call `calibrate` on sample rows")
        return found

    def calibrate(self, tensors: Sequence[Tensor]) -> Defense:
        """The same defense with each quantizer's range taken from `tensors`.

        Least and greatest value; codes of a rank of the whole, each of variance 1, no farther than `LOADING` says.
        What custom stages draw is drawn here from a fixed seed.

        Raises:
            CollabplanError: NaN or infinity in a tensor.
        """
        ranges = []
        source = Simulated(generator_for(0, "calibration", self.record.unfitted.text))
        tensors = self.transforms.apply(self._require_all(tensors), source)
        for crossing, before, tensor in zip(self.tail.crossing, self.crossing, tensors, strict=True):
            if not crossing.is_quantized:
                continue
            low, high = (float(end) for end in tensor.detach().aminmax())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise CollabplanError(
                    f"activations at {crossing.name} hold NaN or infinity; check the weights and the data"
                )
            end = self._farthest(before)
            ranges.append(TensorRange(node=crossing.node, low=max(low, -end), high=min(high, end)))
        return self.with_ranges(ranges)

    def _farthest(self, crossing: Crossing) -> float:
        projection, bits = self.record.projection, self.record.bits
        normal = projection is not None and projection.rank is not None and can_narrow(crossing, projection)
        return LOADING.get(bits or 0, math.inf) if normal and not self.record.customs else math.inf

    def release(self, tensors: Sequence[Tensor], source: Randomness | torch.Generator) -> tuple[Tensor, ...]:
        """What leaves the device: dropped out unscaled, with noise, then integer codes (or floats without a quantizer).

        Masks, noise and rounding are independent per sample and tensor. Shapes are those of `tail.crossing`.

        Args:
            source: where random numbers come from; a generator is for simulations.

        Raises:
            CollabplanError: a `Fresh` source where the record says keyed, or the other way round.
        """
        drawn = Simulated(source) if isinstance(source, torch.Generator) else source
        wrong = Fresh if self.record.masks == "keyed" else Keyed
        if self.randomizes and isinstance(drawn, wrong):
            raise CollabplanError(
                f"this defense has {self.record.masks} masks, but the source of randomness is {wrong.__name__}; "
                f"give it a {'Keyed' if wrong is Fresh else 'Fresh'} one"
            )
        if self.transforms.stages:
            return self.tail.release(self.transforms.apply(self._require_all(tensors), drawn), drawn)
        return tuple(
            self._release(crossing, tensor, drawn)
            for crossing, tensor in zip(self.crossing, self._require_all(tensors), strict=True)
        )

    def _release(self, crossing: Crossing, tensor: Tensor, source: Randomness) -> Tensor:
        """One tensor through the tail: mask, noise and rounding are drawn in this order, tensor by tensor."""
        quantizer = self._quantizer_stage if crossing.is_quantized else None
        stages: list[Stage] = [
            stage
            for stage, acts in ((self.dropout, self.drops(crossing)), (self._noise_stage, self.noises(crossing)))
            if stage is not None and acts
        ]
        if not stages and (quantizer is None or not quantizer.random):
            return tensor if quantizer is None else quantizer.apply(tensor, crossing, source)
        layout = crossing.layout
        assert layout is not None  # __post_init__ refuses private tensors without one
        rows = to_samples(tensor, layout)
        if self.noises(crossing):
            self._range(crossing)
        for stage in stages:
            rows = stage.apply(rows, crossing, source)
        rows = rows.to(tensor.dtype) if quantizer is None else quantizer.apply(rows, crossing, source)
        return from_samples(rows, layout)

    def receive(self, released: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the cloud half reads: dequantized, multiplied by 1 / (1 - rate), transforms undone, in its dtypes."""
        if self.transforms.stages:
            return self.transforms.receive(self.tail.receive(released))
        received = []
        for crossing, tensor in zip(self.crossing, self._require_all(released), strict=True):
            values = self._dequantized(crossing, tensor)
            if self.dropout is not None and self.drops(crossing):
                values = self.dropout.receive(values, crossing)
            received.append(values)
        return tuple(received)

    def _dequantized(self, crossing: Crossing, tensor: Tensor) -> Tensor:
        stage = self._quantizer_stage
        return tensor if stage is None or not crossing.is_quantized else stage.receive(tensor, crossing)

    def simulate(self, tensors: Sequence[Tensor], source: Randomness | torch.Generator) -> tuple[Tensor, ...]:
        """`receive(release(tensors))`: the defense as the cloud half feels it."""
        return self.receive(self.release(tensors, source))

    def observed(self, released: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What an adversary on the wire or in the cloud reads: rows `[N, *sample_shape]`, dequantized, not rescaled.

        Only private crossings, in their order; integer ones as float32; codes where stages transform.
        """
        if self.transforms.stages:
            return self.tail.observed(released)
        rows = []
        for crossing, tensor in zip(self.crossing, self._require_all(released), strict=True):
            if crossing.public or crossing.layout is None:
                continue
            values = self._dequantized(crossing, tensor) if crossing.is_floating else tensor.float()
            rows.append(to_samples(values, crossing.layout))
        return tuple(rows)

    def payload_bytes(self) -> int:
        """Bytes per sample on the wire, without framing; constant for a plan.

        Codes are packed to `bits`. Dropout does **not** reduce it: dropped elements travel as zeros. Leaving
        them out would need the mask on the wire or in the message's length, and entropy coding would make the
        size depend on the private input.
        """
        total = 0
        for crossing in self.tail.crossing:
            bits = self.wire_bits(crossing)
            elements = crossing.sample_elements
            total += elements * crossing.element_bytes if bits is None else math.ceil(elements * bits / 8)
        return total

    def wire_bits(self, crossing: Crossing) -> int | None:
        """Bits of one number of a released tensor; None where it leaves in its own dtype."""
        return self.record.bits if crossing.is_quantized else None

    # what is known exactly -----------------------------------------------------------------------------

    @cached_property
    def floor(self) -> Floor:
        """The noise floor, one entry per crossing: noise that is added, else what quantizing amounts to.

        Noise before a quantizer counts alone: rounding what is already noisy reveals no more. A quantizer alone
        stands for noise of step / sqrt(12), the model's own dtype for its spacing at the tensor's greatest size, and
        an integer tensor for 1 / sqrt(12); none of these is real.

        Raises:
            CollabplanError: a tensor has no range yet.
        """
        private = [crossing for crossing in self.crossing if not crossing.public]
        noisy = [crossing for crossing in private if self.noises(crossing)]
        bare = [crossing for crossing in private if not self.noises(crossing)]
        stds = [0.0 if crossing.public else self._floor_std(crossing) for crossing in self.crossing]
        return Floor.of(self.record, stds, noisy, bare)

    def _floor_std(self, crossing: Crossing) -> float:
        noise, quantizer = self.noise(crossing), self._quantizer(crossing)
        if noise is not None:
            return noise.std if noise.kind == "gaussian" else noise.std / math.sqrt(2)
        if quantizer is not None:
            return quantizer.step / math.sqrt(12)
        if not crossing.is_floating:
            return 1 / math.sqrt(12)
        found = self._range(crossing)
        return torch.finfo(getattr(torch, crossing.dtype)).eps * max(abs(found.low), abs(found.high)) or 1.0

    @property
    def has_density(self) -> bool:
        """True where `log_likelihood` can be computed: every private crossing is released with a known law."""
        private = self.private
        return bool(private.crossing) and all(private.law(crossing) is not None for crossing in private.crossing)

    def law(self, crossing: Crossing) -> Law | None:
        """The law of one released number given the number after dropout, or None where it adds no chance of its own.

        None too for noise followed by stochastic rounding, whose mass has no closed form here.
        """
        if not crossing.is_defended:
            return None
        noise, quantizer = self.noise(crossing), self._quantizer(crossing)
        if quantizer is None:
            return noise
        if noise is None:
            return StochasticRounding(quantizer) if self.record.rounds_randomly else None
        return None if self.record.rounds_randomly else NoiseToNearest(noise, quantizer)

    def log_likelihood(self, released: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        """ln p(t_i | x_j) of the whole release, over its noise and the hidden masks: `[M, N]` float64.

        A density where floats leave, a probability mass (at most 0) where codes do.

        Args:
            released: per private crossing `[M, *sample_shape]`, from `private.release`.
            rows: per private crossing `[N, *sample_shape]`, as the edge half computes them.

        Raises:
            CollabplanError: a private crossing has no known law: it is released without noise or random rounding, or
                with noise followed by stochastic rounding, or a custom stage stands before it (ask the `tail`).
        """
        if self.record.customs:
            raise CollabplanError("custom stages have no law; ask the tail of the defense, over its codes")
        private = self.private
        total: Tensor | None = None
        for crossing, sent, given in zip(
            private.crossing, private._require_all(released), private._require_all(rows), strict=True
        ):
            law = private.law(crossing)
            if law is None:
                why = (
                    "without noise or random rounding, which has no density"
                    if private.noise(crossing) is None
                    else ("with noise and stochastic rounding, whose mass has no closed form")
                )
                raise CollabplanError(f"{crossing.name} is released {why}; add noise, or round stochastically")
            rate = private.rate if private.drops(crossing) else 0.0
            channels = private.dropout is not None and private.dropout.by_channel
            found = log_likelihood(law, sent, given, rate=rate, channels=channels)
            total = found if total is None else total + found
        if total is None:
            raise CollabplanError("no private tensor crosses, so there is nothing to be likely")
        return total

    def _require_all(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        if len(tensors) != len(self.crossing):
            names = ", ".join(crossing.name for crossing in self.crossing)
            raise CollabplanError(f"expected {len(self.crossing)} tensors ({names}), got {len(tensors)}")
        return tensors


def dropped_at(cut: Cut) -> list[Crossing]:
    """What dropout would act on at `cut`. Raises CutError where a private tensor cannot be divided into samples."""
    if cut.kind == "edge-only":
        return []
    return [crossing for crossing in Defense.for_cut(DefenseRecord(), cut).crossing if crossing.is_defended]


def defends(cut: Cut) -> bool:
    """False where only integers cross, nothing is defended (edge-only), or a raw private input crosses.

    The leakage of such an input is 1 whatever else is done.
    """
    return bool(dropped_at(cut)) and not cut.sends_raw_input


def defenses_at(cut: Cut, defenses: Sequence[DefenseRecord]) -> tuple[DefenseRecord, ...]:
    """What of `defenses` makes a difference at `cut`, each once; none at all at the model's output alone.

    Dropout is left out where it acts on nothing.
    """
    if cut.kind == "edge-only":
        return (DefenseRecord(),)
    acts = defends(cut)
    return tuple(dict.fromkeys(defense if acts else defense.without("dropout") for defense in defenses))


def seed_marks(defense: Defense) -> dict[str, object]:
    """What attackers' training draws are seeded by: the JSON of a defense before it was a list of stages.

    It stays byte for byte what it was, so that the same seed still gives the same attackers; what could not be said
    then is added.
    """
    record, matrices = defense.record, defense.matrices
    dropout, noise = record.dropout, record.noise
    return {
        "kept": 1.0,
        "directions": None if matrices is None else matrices.sha256,
        "dropout": "none" if dropout is None else dropout.granularity,
        "rate": record.rate,
        "masks": record.masks,
        "noise": "none" if noise is None else noise.distribution,
        "noise_std": 0.0 if noise is None else noise.std,
        "bits": record.bits,
        "rounding": "nearest" if record.quantizer is None else record.quantizer.rounding,
        "ranges": [found.model_dump(mode="json") for found in record.ranges],
        **({"custom": [custom.text for custom in record.customs]} if record.customs else {}),
    }
