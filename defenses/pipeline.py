"""What the device does to the crossing tensors before they leave: directions, dropout, noise, then the quantizer.

Where fewer directions than all are kept (`directions.py`), dropout, noise and quantizer act on these, the *codes*: they
are what leaves, in fewer bytes, and `Defense.coded` is the rest of the defense over them. Codes of the whole tensor are
few and alike, each of variance 1: their quantizer ends where such numbers lose least by it, and not at the farthest.

Released **unscaled**: the device sends `mask * h` and the cloud half multiplies by `1 / (1 - rate)`.
Scaling before the wire (`torch.nn.Dropout`) would lift the signal over the fixed noise floor, and
mutual information would then *rise* with the rate.

Noise is added to every element after dropout, so that it hides the mask too. Laplace noise of scale b (standard
deviation s = sqrt(2) b) tells no more than Gaussian noise of standard deviation b: between shifts d apart its
Kullback-Leibler divergence |d|/b + exp(-|d|/b) - 1 is at most the Gaussian's d^2 / 2b^2, since exp(-u) <= 1 - u + u^2/2
for u >= 0. Every bound that is built on pairwise divergences therefore holds for it at the floor b.
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
    DefenseSpec,
    Layout,
    MismatchError,
    TensorRange,
    kept_in_words,
)
from .densities import Law, Noise, NoiseToNearest, StochasticRounding, log_likelihood
from .projection import LOADING, ProjectionMatrices, can_narrow, code_of, is_whole
from .quantizer import Quantizer
from .randomness import Fresh, Keyed, Randomness, Simulated

MARGIN_STDS = 4.0
"""With noise the quantizer's range is widened by so many standard deviations on both sides. At the range's very end
3e-5 of the elements are then clipped (Laplace: 2e-3); wider would cost more in the step than it saves in clipping."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The noise floor that a release is measured against.

    Attributes:
        stds: per crossing, the standard deviation of the Gaussian noise that the floor is, or stands for, in the
            tensor's own units; 0.0 for public tensors.
        real: True where every private crossing has noise that is really added and whose pairwise divergences are at
            most those of Gaussian noise of `stds`. False: formulas at this floor are surrogates.
        text: the floor in words, for reports.
    """

    stds: tuple[float, ...]
    real: bool
    text: str


@dataclass(frozen=True)
class Defense:
    """A defense bound to the tensors that cross one cut.

    Dropout, noise and quantizer act on private floating tensors. A raw private input is quantized like the
    rest, as any honest cloud-only client would, but neither dropped nor noised: its leakage is 1 whatever is
    done to it. Public and integer tensors pass as they are. A *channel* is an index of the sample's first
    dimension, as `torch.nn.Dropout1d/2d/3d` have it: a feature map of `[C, H, W]`, a token of
    `[tokens, features]`; in a plain vector it is an element.

    Tensors go in and come out in the graph's own layout, one per crossing and in its order. Shapes, bytes and costs of
    what is released need no `directions`; to release anything with `spec.kept` other than 1 does.
    """

    spec: DefenseSpec
    crossing: tuple[Crossing, ...]
    directions: ProjectionMatrices | None = None

    def __post_init__(self) -> None:
        for crossing in self.crossing:
            if not crossing.public and crossing.layout is None:
                raise CutError(
                    f"{crossing.name} cannot be divided into samples, so no defense can act on it; choose another cut"
                )

    @classmethod
    def for_cut(cls, spec: DefenseSpec, cut: Cut) -> Defense:
        """`spec` at `cut`. The outputs of the edge-only cut pass as they are: there is no cut to defend."""
        if cut.kind == "edge-only":
            spec = DefenseSpec(bits=None)
        return cls(spec, cut.crossing)

    @classmethod
    def bound(cls, spec: DefenseSpec, crossing: tuple[Crossing, ...], directions: ProjectionMatrices | None) -> Defense:
        """A calibrated `spec` as a plan holds it, with its matrices.

        Raises:
            MismatchError: other matrices than those that the spec names, or of other tensors.
        """
        if spec.directions != (None if directions is None else directions.sha256):
            raise MismatchError("these are not the directions that the plan was measured with; take its own file")
        if directions is not None:
            directions.require_fitting(crossing, spec.kept)
        return cls(spec, crossing, directions)

    def keeping(self, directions: ProjectionMatrices) -> Defense:
        """The same with these matrices, not yet calibrated."""
        return replace(self, spec=self.spec.model_copy(update={"directions": directions.sha256}), directions=directions)

    @cached_property
    def coded(self) -> Defense:
        """The rest of the defense, over what is released: over codes where fewer directions than all are kept."""
        if self.spec.kept == 1:
            return self
        codes = tuple(code_of(crossing, self.spec.kept) for crossing in self.crossing)
        return Defense(self.spec.model_copy(update={"kept": 1.0}), codes)

    def encode(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Crossing tensors as codes; as they are where all directions are kept."""
        if self.spec.kept == 1:
            return tuple(tensors)
        return self._matrices.encoded_in_graph(self.crossing, self._require_all(tensors))

    def encode_rows(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The same for rows `[N, *sample_shape]` of each crossing."""
        if self.spec.kept == 1:
            return list(rows)
        return [
            self._matrices.encoded(each, row) for each, row in zip(self.crossing, self._require_all(rows), strict=True)
        ]

    @property
    def _matrices(self) -> ProjectionMatrices:
        if self.directions is None:
            raise CollabplanError(
                f"a release of {kept_in_words(self.spec.kept)} needs their matrices; fit them to the cut first"
            )
        return self.directions

    @property
    def rate(self) -> float:
        """Probability that an element or channel is dropped; 0 without dropout."""
        return 0.0 if self.spec.dropout == "none" else self.spec.rate

    def acts_on(self, crossing: Crossing) -> bool:
        """True for private floating tensors."""
        return crossing.is_floating and not crossing.public

    def drops(self, crossing: Crossing) -> bool:
        """True for the tensors that dropout acts on."""
        return self.rate > 0 and self.acts_on(crossing) and not crossing.raw_input

    def noises(self, crossing: Crossing) -> bool:
        """True for the tensors that get noise."""
        added = self.spec.noise != "none" and self.spec.noise_std > 0
        return added and self.acts_on(crossing) and not crossing.raw_input

    def noise(self, crossing: Crossing) -> Noise | None:
        """The noise that a tensor gets, in its own units; None for what gets none.

        `noise_std` times its calibrated range; of a tensor that was constant then, times its greatest size (or 1).

        Raises:
            CollabplanError: the tensor has no range yet.
        """
        if self.spec.noise == "none" or not self.noises(crossing):
            return None
        found = self._range(crossing)
        span = (found.high - found.low) or max(abs(found.low), abs(found.high)) or 1.0
        return Noise(self.spec.noise, self.spec.noise_std * span)

    @property
    def randomizes(self) -> bool:
        """True where two releases of the same tensors may differ."""
        rounds = self.spec.bits is not None and self._rounds_randomly
        return any(self.drops(c) or self.noises(c) or (rounds and self.acts_on(c)) for c in self.crossing)

    @property
    def only_drops(self) -> bool:
        """True where dropout is all that is random: a number that was not dropped is released the same each time."""
        drops, noises = (any(acts(crossing) for crossing in self.crossing) for acts in (self.drops, self.noises))
        return drops and not noises and not (self.spec.bits is not None and self._rounds_randomly)

    @property
    def changes(self) -> bool:
        """False where every tensor crosses exactly as it is."""
        quantizes = self.spec.bits is not None and any(self.acts_on(c) for c in self.crossing)
        return self.randomizes or quantizes or self.coded.crossing != self.crossing

    @property
    def distance_factor(self) -> float | None:
        """By what dropout multiplies squared distances of what it acts on, in expectation, the mask in view.

        1 - rate for element dropout, of which wide tensors hold an average so good that it is the distance; 1.0 without
        dropout. None for channel dropout: a few dropped channels are no average, and masks must be drawn.
        """
        return None if self.rate and self.spec.dropout == "channel" else 1.0 - self.rate

    @cached_property
    def private(self) -> Defense:
        """The same defense over the private crossings alone, taking one row per sample in place of their layout."""
        kept = [c.model_copy(update={"layout": Layout()}) for c in self.crossing if not c.public]
        return Defense(self.spec, tuple(kept), self.directions)

    @cached_property
    def quantizers(self) -> tuple[Quantizer | None, ...]:
        """One per crossing; None where tensors cross in their own dtype. With noise its range is wider.

        Raises:
            CollabplanError: a tensor has no range yet.
        """
        return tuple(self._quantizer(crossing) for crossing in self.crossing)

    def _quantizer(self, crossing: Crossing) -> Quantizer | None:
        if self.spec.bits is None or not self.acts_on(crossing):
            return None
        found, noise = self._range(crossing), self.noise(crossing)
        if noise is None:
            return Quantizer.from_range(found.low, found.high, self.spec.bits)
        margin = MARGIN_STDS * noise.std
        return Quantizer.from_range(min(found.low, 0.0) - margin, max(found.high, 0.0) + margin, self.spec.bits)

    def _range(self, crossing: Crossing) -> TensorRange:
        for found in self.spec.ranges:
            if found.node == crossing.node:
                return found
        raise CollabplanError(f"the defense has no range for {crossing.name}; call `calibrate` on sample rows")

    @cached_property
    def floor(self) -> Floor:
        """The noise floor, one entry per crossing: noise that is added, else what quantizing amounts to.

        Noise before a quantizer counts alone: rounding what is already noisy tells no more. A quantizer alone
        stands for noise of step / sqrt(12), the model's own dtype for its spacing at the tensor's greatest size, and
        an integer tensor for 1 / sqrt(12); none of these is real.

        Raises:
            CollabplanError: a tensor has no range yet.
        """
        private = [crossing for crossing in self.crossing if not crossing.public]
        stds = tuple(0.0 if crossing.public else self._floor_std(crossing) for crossing in self.crossing)
        bare = [crossing for crossing in private if not self.noises(crossing)]
        real = bool(private) and not bare
        text = self._floor_text(noisy=len(bare) < len(private))
        if bare and len(bare) < len(private):
            text += f"; {', '.join(crossing.name for crossing in bare)} without noise (surrogate)"
        return Floor(stds, real, text if private else "nothing private crosses")

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

    def _floor_text(self, *, noisy: bool) -> str:
        share, bits = 100 * self.spec.noise_std, self.spec.bits
        if noisy and self.spec.noise == "gaussian":
            return f"Gaussian noise of {share:.3g} % of each tensor's range (real)"
        if noisy:
            return f"Laplace noise of {share:.3g} % of each tensor's range (real; as Gaussian of 1 / sqrt(2) of it)"
        if bits is None:
            return "spacing of the model's own numbers (no real noise: surrogate)"
        if self._rounds_randomly:
            return f"{bits}-bit stochastic rounding as step / sqrt(12) (surrogate; its exact mass is known)"
        return f"{bits}-bit wire step / sqrt(12) (no real noise: surrogate)"

    @property
    def _rounds_randomly(self) -> bool:
        return self.spec.rounding == "stochastic"

    @property
    def has_density(self) -> bool:
        """True where `log_likelihood` can be computed: every private crossing is released with a known law."""
        private = self.private
        return bool(private.crossing) and all(private.law(crossing) is not None for crossing in private.crossing)

    def law(self, crossing: Crossing) -> Law | None:
        """The law of one released number given the number after dropout, or None where it adds no chance of its own.

        None too for noise followed by stochastic rounding, whose mass has no closed form here.
        """
        if not self.acts_on(crossing) or crossing.raw_input:
            return None
        noise, quantizer = self.noise(crossing), self._quantizer(crossing)
        if quantizer is None:
            return noise
        if noise is None:
            return StochasticRounding(quantizer) if self._rounds_randomly else None
        return None if self._rounds_randomly else NoiseToNearest(noise, quantizer)

    def log_likelihood(self, released: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        """ln p(t_i | x_j) of the whole release, over its noise and the hidden masks: `[M, N]` float64.

        A density where floats leave, a probability mass (at most 0) where codes do.

        Args:
            released: per private crossing `[M, *sample_shape]`, from `private.release`.
            rows: per private crossing `[N, *sample_shape]`, as the edge half computes them.

        Raises:
            CollabplanError: a private crossing has no known law: it is released without noise or random rounding, or
                with noise followed by stochastic rounding.
        """
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
            found = log_likelihood(law, sent, given, rate=rate, channels=self.spec.dropout == "channel")
            total = found if total is None else total + found
        if total is None:
            raise CollabplanError("no private tensor crosses, so there is nothing to be likely")
        return total

    def calibrate(self, tensors: Sequence[Tensor]) -> Defense:
        """The same defense with each quantizer's range taken from `tensors`.

        Least and greatest value; codes of the whole tensor no farther than `LOADING` says.

        Raises:
            CollabplanError: NaN or infinity in a tensor.
        """
        ranges = []
        for crossing, tensor in zip(self.crossing, self.encode(self._require_all(tensors)), strict=True):
            if not self.acts_on(crossing):
                continue
            low, high = (float(end) for end in tensor.detach().aminmax())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise CollabplanError(
                    f"activations at {crossing.name} hold NaN or infinity; check the weights and the data"
                )
            counted = is_whole(self.spec.kept) and can_narrow(crossing, self.spec.kept)
            end = LOADING.get(self.spec.bits or 0, math.inf) if counted else math.inf
            ranges.append(TensorRange(node=crossing.node, low=max(low, -end), high=min(high, end)))
        return Defense(self.spec.model_copy(update={"ranges": tuple(ranges)}), self.crossing, self.directions)

    def release(self, tensors: Sequence[Tensor], source: Randomness | torch.Generator) -> tuple[Tensor, ...]:
        """What leaves the device: dropped out unscaled, with noise, then integer codes (or floats without a quantizer).

        Masks, noise and rounding are independent per sample and tensor. Shapes are those of `tensors`, of codes where
        fewer directions are kept.

        Args:
            source: where random numbers come from; a generator is for simulations.

        Raises:
            CollabplanError: a `Fresh` source where the spec says keyed, or the other way round.
        """
        if self.spec.kept != 1:
            return self.coded.release(self.encode(tensors), source)
        drawn = Simulated(source) if isinstance(source, torch.Generator) else source
        wrong = Fresh if self.spec.masks == "keyed" else Keyed
        if self.randomizes and isinstance(drawn, wrong):
            raise CollabplanError(
                f"this defense has {self.spec.masks} masks, but the source of randomness is {wrong.__name__}; "
                f"give it a {'Keyed' if wrong is Fresh else 'Fresh'} one"
            )
        return tuple(
            self._release(crossing, quantizer, tensor, drawn)
            for crossing, quantizer, tensor in zip(
                self.crossing, self.quantizers, self._require_all(tensors), strict=True
            )
        )

    def _release(self, crossing: Crossing, quantizer: Quantizer | None, tensor: Tensor, source: Randomness) -> Tensor:
        noise, rounds = self.noise(crossing), quantizer is not None and self._rounds_randomly
        if not (self.drops(crossing) or noise or rounds):
            return tensor if quantizer is None else quantizer.quantize(tensor)
        layout = crossing.layout
        assert layout is not None  # __post_init__ refuses private tensors without one
        rows = to_samples(tensor, layout)
        if self.drops(crossing):
            kept = self.mask(crossing, rows.shape[0], source).to(rows.device)
            # `where` and not a product: infinity * 0 would be NaN, and negative numbers would leave as -0.0.
            rows = torch.where(kept, rows, torch.zeros((), dtype=rows.dtype, device=rows.device))
        if noise is not None:
            rows = _drawn(noise, f"{crossing.node}/noise", rows, source).add_(rows)
        if quantizer is not None:
            uniform = source.uniform(f"{crossing.node}/rounding", rows.shape).to(rows.device) if rounds else None
            return from_samples(quantizer.quantize(rows, uniform), layout)
        return from_samples(rows.to(tensor.dtype), layout)

    def receive(self, released: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What the cloud half reads: dequantized, multiplied by 1 / (1 - rate), decoded, in the model's dtypes."""
        if self.spec.kept != 1:
            return self._matrices.decoded_in_graph(self.crossing, self.coded.receive(released))
        received = []
        for crossing, quantizer, tensor in zip(
            self.crossing, self.quantizers, self._require_all(released), strict=True
        ):
            values = tensor if quantizer is None else quantizer.dequantize(tensor, getattr(torch, crossing.dtype))
            received.append(values / (1 - self.rate) if self.drops(crossing) else values)
        return tuple(received)

    def simulate(self, tensors: Sequence[Tensor], source: Randomness | torch.Generator) -> tuple[Tensor, ...]:
        """`receive(release(tensors))`: the defense as the cloud half feels it."""
        return self.receive(self.release(tensors, source))

    def observed(self, released: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What an adversary on the wire or in the cloud reads: rows `[N, *sample_shape]`, dequantized, not rescaled.

        Only private crossings, in their order; integer ones as float32; codes where fewer directions are kept.
        """
        if self.spec.kept != 1:
            return self.coded.observed(released)
        rows = []
        for crossing, quantizer, tensor in zip(
            self.crossing, self.quantizers, self._require_all(released), strict=True
        ):
            if crossing.public or crossing.layout is None:
                continue
            if quantizer is not None:
                tensor = quantizer.dequantize(tensor, getattr(torch, crossing.dtype))
            elif not crossing.is_floating:
                tensor = tensor.float()
            rows.append(to_samples(tensor, crossing.layout))
        return tuple(rows)

    def payload_bytes(self) -> int:
        """Bytes per sample on the wire, without framing; constant for a plan.

        Codes are packed to `bits`. Dropout does **not** reduce it: dropped elements travel as zeros. Leaving
        them out would need the mask on the wire or in the message's length, and entropy coding would make the
        size depend on the private input.
        """
        total = 0
        for crossing in self.coded.crossing:
            if self.spec.bits is not None and self.acts_on(crossing):
                total += math.ceil(crossing.sample_elements * self.spec.bits / 8)
            else:
                total += crossing.sample_elements * crossing.element_bytes
        return total

    def mask(self, crossing: Crossing, rows: int, source: Randomness) -> Tensor:
        """Masks of kept elements, bool, `[rows, *sample_shape]` or `[rows, C, 1, ...]` for channels."""
        shape = [rows, *crossing.sample_shape]
        if self.spec.dropout == "channel":
            shape[2:] = [1] * len(shape[2:])
        return source.uniform(f"{crossing.node}/mask", shape) >= self.rate

    def _require_all(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        if len(tensors) != len(self.crossing):
            names = ", ".join(crossing.name for crossing in self.crossing)
            raise CollabplanError(f"expected {len(self.crossing)} tensors ({names}), got {len(tensors)}")
        return tensors


def _drawn(noise: Noise, name: str, rows: Tensor, source: Randomness) -> Tensor:
    """Noise of the shape of `rows`, float32 or wider."""
    if noise.kind == "gaussian":
        drawn = source.normal(name, rows.shape)
    else:
        # By the inverse distribution function; 2u - 1 is exact, and -1 would be infinity.
        centred = source.uniform(name, rows.shape).mul_(2).sub_(1)
        drawn = centred.sign() * (1 - centred.abs()).clamp_(min=2**-24).log_().div_(-math.sqrt(2))
    wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
    return drawn.to(rows.device, wide).mul_(noise.std)
