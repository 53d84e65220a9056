"""What one (cut, defense) leaks: the estimated leakage index and the information bounds, as one record."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from ..defenses.pipeline import Defense
from ..defenses.randomness import Simulated
from ..defenses.seeds import derive_seed, generator_for
from ..graph import Cut
from ..records import CollabplanError, CutProfile, IndexAt, InformationEstimate, Interval, Leakage, ResultAt
from ..records.memory import UNBOUNDED, MemoryBudget
from ..targets.data import Data
from .combined import REPEATS, CombinedIndex, combined_index, unseen_share
from .defense_kinds import (
    at_rate,
    fused,
    has_mass,
    in_closed_form,
    is_gaussian,
    is_random,
    wire_key,
    without_dropout,
)
from .fano import reidentification_ceiling
from .gram import NestedMasks, WireRows, clean_rows, dropped, even_weights, squared_distances
from .interface import Channel, Estimate, Estimator
from .inversion import MANY, InversionIndex, LocalInversion, lost_by_all
from .jacobian import EdgeJacobian
from .kde import kullback_leibler_nats
from .ridge import EVENNESS, Kernels, RidgeIndex, ridge_index, tested_count
from .sandwich import Bounds, SampledNoise, Sandwich, averaged, bounds_from_log_likelihood
from .secrets import Components, Secrets
from .token_recovery import Recovered, TokenRecovery

DRAWS = 3
"""Masks that figures are averaged over where a single one is not typical."""

TYPICAL_FEATURES = 4096
"""Units to drop for one mask to be typical. With fewer, masks are drawn until this many were at stake."""

MAX_PRODUCT = 1e12
"""N^2 x features beyond which samples are left out."""

MAX_MASS_PRODUCT = 1e9
"""The same for the exact mass of stochastic rounding, which no matrix product computes."""


def by_definition(cut: Cut | CutProfile, *, result_at: ResultAt = "edge") -> Leakage | None:
    """The leakage of a cut that needs no measurement, else None.

    A raw private input that crosses (or an invertible view of one) is 1, whatever a defense does to it and an
    estimator says. Nothing private crossing is 0: only public tensors, or the edge-only cut whose result stays at
    the edge.
    """
    if any(crossing.raw_input for crossing in cut.crossing):
        return _certain(1.0)
    nothing_sent = cut.kind == "edge-only" and result_at == "edge"
    if nothing_sent or all(crossing.public for crossing in cut.crossing):
        return _certain(0.0)
    return None


def estimate_leakage(
    rows: Sequence[Tensor],
    inputs: Secrets | Components | Tensor | Sequence[Tensor],
    defense: Defense,
    cut: Cut | CutProfile,
    *,
    generator: torch.Generator,
    result_at: ResultAt = "edge",
) -> Leakage:
    """The leakage of `cut` under one defense: see `CutLeakage`, which serves many."""
    known = by_definition(cut, result_at=result_at)
    if known is not None:
        return known
    secrets = inputs if isinstance(inputs, (Secrets, Components)) else Components.of(inputs)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return CutLeakage(rows, secrets, cut, result_at=result_at, seed=seed).under(defense, generator=generator)


@dataclass(frozen=True, eq=False)
class _Wire:
    """What all masks over the same quantizer and noise share."""

    clean: WireRows
    distances: tuple[Tensor, ...]
    channel: Channel
    noise: SampledNoise


class CutLeakage:
    """Leakage of one cut under many defenses; what they share is computed once.

    A private crossing that is neither raw nor floating (positions of a maximum, for example) is measured
    with the rest, as it crosses: undefended.
    """

    def __init__(
        self,
        rows: Sequence[Tensor],
        inputs: Secrets | Components,
        cut: Cut | CutProfile,
        *,
        result_at: ResultAt = "edge",
        rates: Sequence[float] = (),
        seed: int = 0,
        edge: Callable[[Data], Sequence[Tensor]] | None = None,
        random_rows: bool = False,
        inversion: Callable[[], LocalInversion] | None = None,
        averaged: Callable[[], CutLeakage] | None = None,
        releases: int = MANY,
        memory: MemoryBudget = UNBOUNDED,
    ) -> None:
        """
        Args:
            rows: edge activations laid back to samples: one tensor per crossing of the cut (public ones may be
                anything), or one per private crossing `[N, *sample_shape]`.
            inputs: the same samples' private inputs. With several private inputs the worst index counts.
            cut: where they cross.
            result_at: where the model's output is wanted; matters for the edge-only cut alone.
            rates: dropout rates that will be asked for: together they cost little more than one.
            seed: of everything that defenses share: the order of the samples, masks and noises to compare by.
            edge: gives rows like `rows` for other inputs of the model: attackers run the edge half on tokens of their
                choice. None where that cannot be.
            random_rows: the rows hold draws of custom stages. The information that these hide is then not counted: what
                the rows reveal bounds what the release reveals of the inputs from above alone.
            inversion: gives the local inversion of the rows, or raises CollabplanError. Without it the index's high end
                is wider.
            averaged: where custom stages draw, gives the same over the mean of `MANY` draws. Without it the high end
                knows the rows' own draws alone.
            releases: of one input, that the high end of what data shows is of.
            memory: where what is as large as the rows lies.

        Raises:
            CollabplanError: rows, inputs and crossings that do not fit together, NaN or infinity in the rows.
        """
        self.known = by_definition(cut, result_at=result_at)
        self.releases = releases
        # At a rate of 0 many releases are undropped ones: those have masks of their own.
        lost = {lost_by_all(rate, releases) for rate in rates} - {0.0}
        self.rates, self.seed, self.random_rows = tuple({*rates, *lost}), seed, random_rows
        self._inverting, self._averaging, self._memory = inversion, averaged, memory
        self._inversion: LocalInversion | str | None = None
        self._missed: float | None = None
        if self.known is not None:
            return
        private = [crossing for crossing in cut.crossing if not crossing.public]
        kept = _private_rows(rows, cut)
        for row, crossing in zip(kept, private, strict=True):
            if tuple(row.shape) != (len(inputs), *crossing.sample_shape):
                raise CollabplanError(
                    f"rows of {crossing.name} have shape {tuple(row.shape)}, expected "
                    f"{(len(inputs), *crossing.sample_shape)}: samples first, as `EdgeActivations.rows` gives them"
                )
            if row.is_floating_point() and not all(bool(end.isfinite()) for end in row.detach().aminmax()):
                raise CollabplanError(
                    f"activations at {crossing.name} hold NaN or infinity; check the weights and the data"
                )
        features = sum(row[0].numel() for row in kept)
        count = min(len(inputs), max(200, int((MAX_PRODUCT / max(features, 1)) ** 0.5)))
        self.order = torch.randperm(len(inputs), generator=generator_for(self.seed, "order"))[:count]
        self._kept = [row.detach().cpu() for row in kept]
        secrets = inputs if isinstance(inputs, Secrets) else Secrets(inputs)
        self.secrets = secrets.take(self.order)
        self._edge = None if edge is None or secrets.one is None else partial(_replayed, edge, secrets.one, cut)
        self._by_many: dict[str, Recovered] = {}
        self._wires: dict[str, _Wire] = {}
        self._masks: dict[tuple[str, str], list[NestedMasks]] = {}
        self._resolvable: dict[str, float | None] = {}
        self._shown: dict[tuple[str, str, float], RidgeIndex] = {}

    @classmethod
    def behind(
        cls,
        defense: Defense,
        rows: Sequence[Tensor],
        inputs: Secrets | Components,
        cut: Cut,
        computed: Callable[[Data], Sequence[Tensor]],
        draws: torch.Generator,
        *,
        result_at: ResultAt = "edge",
        rates: Sequence[float] = (),
        seed: int = 0,
        jacobian: Callable[[], EdgeJacobian] | None = None,
        memory: MemoryBudget = UNBOUNDED,
    ) -> CutLeakage:
        """The leakage of the codes that a defense's transforms make: for every defense of the same `codes_key`.

        Args:
            defense: its projection and custom stages count; ask the result for the leakage under a `tail`.
            rows: as of the class, before any stage.
            inputs: as of the class.
            cut: as of the class.
            computed: rows like `rows` for other inputs of the model.
            draws: of custom stages, once per sample.
            result_at: as of the class.
            rates: as of the class.
            seed: as of the class.
            jacobian: gives the derivatives of the edge half, or raises CollabplanError; they are asked for once.
            memory: as of the class.
        """
        source, codes = Simulated(draws), replace(cut, crossing=defense.tail.crossing)

        def means(rows: Sequence[Tensor]) -> list[Tensor]:
            drawn = Simulated(generator_for(seed, "averaged"))
            found = [row.float() / MANY for row in defense.transforms.apply_rows(rows, drawn)]
            for _ in range(MANY - 1):
                for mean, row in zip(found, defense.transforms.apply_rows(rows, drawn), strict=True):
                    mean += row.float() / MANY
            return found

        def averaged() -> CutLeakage:
            edge = lambda data: means(computed(data))  # noqa: E731
            own = partial(cls, result_at=result_at, rates=rates, seed=seed, edge=edge, random_rows=True, memory=memory)
            return own(means(rows), inputs, codes)

        return cls(
            defense.transforms.apply_rows(rows, source),
            inputs,
            codes,
            result_at=result_at,
            rates=rates,
            seed=seed,
            averaged=averaged if defense.transforms.draws else None,
            edge=lambda data: defense.transforms.apply_rows(computed(data), source),
            random_rows=defense.transforms.draws,
            inversion=None
            if jacobian is None
            else lambda: LocalInversion(jacobian(), defense.private.transforms, rates, derive_seed(seed, "inversion")),
            memory=memory,
        )

    def under(
        self,
        defense: Defense,
        *,
        generator: torch.Generator,
        estimators: Sequence[Estimator] = (),
        ridge: bool = True,
        fisher: float | None = None,
    ) -> Leakage:
        """The leakage under `defense` (over the cut's crossings, calibrated).

        Args:
            defense: what the device does.
            generator: draws what is this defense's own: noisy releases, and what `estimators` draw; on the CPU.
            estimators: more estimates of I(X; T), for `Leakage.estimates`.
            ridge: False skips the leakage index: it is then *unmeasured*, and 1 for whoever must decide.
            fisher: the Fisher information leakage of this (cut, defense), for the record.

        Raises:
            CollabplanError: too few samples, or what an estimator refuses.
        """
        if self.known is not None:
            return self.known
        private = defense.private
        key = wire_key(private)
        wire = self._wire(key, private)
        bounds, channels = self._bounds(wire, private, key, generator)
        resolvable = None if self.random_rows else self._resolvable_noise(wire, private, key)
        index = self._index(wire, private, key, generator) if ridge else None
        truly = is_gaussian(private) or has_mass(private)
        estimates = tuple(
            _record(
                item.name,
                [bounds.as_estimate(real_noise=truly and not self.random_rows)]
                if isinstance(item, Sandwich)
                else [item.estimate(channel, generator) for channel in channels],
            )
            for item in estimators
        )
        ceiling = None
        if private.floor.real:
            expected = kullback_leibler_nats(_attenuated(wire, private))
            ceiling = reidentification_ceiling(expected, len(self.order))
        low = 0.0 if self.random_rows else max(0.0, bounds.low - bounds.low_half)
        high = bounds.up + bounds.up_half
        return Leakage(
            index=Interval(value=1.0, low=0.0, high=1.0) if index is None else index.index,
            index_of="token recovery" if isinstance(index, Recovered) else "reconstruction",
            token_attacker=index.attacker if isinstance(index, Recovered) else None,
            token_input=index.input_name if isinstance(index, Recovered) else None,
            status="unmeasured" if index is None else "estimated",
            index_by_samples=() if index is None else tuple(
                IndexAt(sample_count=samples, index=value) for samples, value in index.by_samples
            ),
            shown_index=index.shown if isinstance(index, CombinedIndex) else None,
            inverted_index=index.inverted_value if isinstance(index, CombinedIndex) else None,
            index_note="" if index is None else index.note,
            noise_floor=private.floor.text,
            information_low_nats=low,
            information_high_nats=high if math.isfinite(high) else None,
            information_is="bound" if truly else "surrogate",
            saturation_nats=math.log(bounds.samples),
            saturated=bounds.saturated,
            resolvable_noise=resolvable,
            estimates=estimates,
            dfil=fisher,
            reidentification_ceiling=ceiling,
            sample_count=len(self.order),
        )  # fmt: skip

    def _wire(self, key: str, defense: Defense) -> _Wire:
        if key not in self._wires:
            clean = clean_rows(defense, self._kept, self.order, self._memory)
            distances = tuple(squared_distances(clean))
            total = torch.stack(distances).sum(dim=0) if len(distances) > 1 else distances[0]
            channel = Channel(self.secrets.shown, total, clean.features, self._is_channel(defense))
            self._wires[key] = _Wire(
                clean, distances, channel, SampledNoise(channel, generator_for(self.seed, "noise"))
            )
        return self._wires[key]

    def _first(self, count: int) -> list[Tensor]:
        """The rows of the first samples in the order of comparison."""
        return [row[self.order[:count]] for row in self._kept]

    def _is_channel(self, defense: Defense) -> bool:
        """True where the release is the inputs' own Gaussian channel: no custom stage drew in between."""
        return is_gaussian(defense) and not self.random_rows

    def _draws(self, defense: Defense, wire: _Wire, key: str) -> list[NestedMasks]:
        """Masks over the wire's features, shared by all rates: as many as it takes until they are typical."""
        kind = "none" if defense.record.dropout is None else defense.record.dropout.granularity
        if (key, kind) not in self._masks:
            count = 1
            if kind != "none":
                units = sum(
                    (shape[0] if shape else 1) if kind == "channel" else math.prod(shape)
                    for drops, shape in zip(dropped(defense), wire.clean.shapes, strict=True)
                    if drops
                )
                count = min(DRAWS, math.ceil(TYPICAL_FEATURES / max(units, 1)))
            weights = even_weights(wire.clean, EVENNESS, 1.0 if is_random(defense) else 0.0)
            self._masks[key, kind] = [
                NestedMasks(wire.clean, defense, weights, generator_for(self.seed, "mask", kind, draw), self.rates)
                for draw in range(count)
            ]
        return self._masks[key, kind]

    def _bounds(
        self, wire: _Wire, defense: Defense, key: str, generator: torch.Generator
    ) -> tuple[Bounds, list[Channel]]:
        """The sandwich, and the channels that it is averaged over: one, or one per mask."""
        real, features = self._is_channel(defense), wire.clean.features
        if has_mass(defense):
            return self._mass_bounds(defense, generator), [
                Channel(self.secrets.shown, _attenuated(wire, defense), features, real)
            ]
        if in_closed_form(defense):
            if not defense.rate or all(dropped(defense)):
                return wire.noise.bounds(1 - defense.rate), [wire.channel.attenuated(1 - defense.rate)]
            channel = Channel(self.secrets.shown, _attenuated(wire, defense), features, real)
            return SampledNoise(channel, generator_for(self.seed, "noise")).bounds(), [channel]
        channels = []
        for masks in self._draws(defense, wire, key):
            survivors = masks.survivors(defense.rate, self._memory)
            total = torch.stack(squared_distances(survivors)).sum(dim=0)
            channels.append(Channel(self.secrets.shown, total, survivors.features, real))
        noises = 1 if len(channels) > 1 else 2  # several masks bring as many noises of their own
        found = [SampledNoise(channel, generator_for(self.seed, "noise"), noises).bounds() for channel in channels]
        return averaged(found), channels

    def _mass_bounds(self, defense: Defense, generator: torch.Generator) -> Bounds:
        """The exact sandwich of stochastic rounding alone, on as many samples as its mass can be computed for.

        Dropout only takes away from it: it is left out, and the lower bound with it.
        """
        undropped = without_dropout(defense)
        features = sum(row[0].numel() for row in self._kept)
        count = min(len(self.order), max(50, int((MAX_MASS_PRODUCT / features) ** 0.5)))
        few = self._first(count)
        released = undropped.release(few, generator)
        bounds = bounds_from_log_likelihood(undropped.log_likelihood(released, few))
        return replace(bounds, low=0.0, low_half=0.0) if defense.rate else bounds

    def _resolvable_noise(self, wire: _Wire, defense: Defense, key: str) -> float | None:
        """Under dropout the expected distances decide: they shrink by 1 - rate."""
        if key not in self._resolvable:
            self._resolvable[key] = wire.noise.resolvable_noise()
        found = self._resolvable[key]
        return None if found is None else found * math.sqrt(1 - defense.rate)

    def _index(self, wire: _Wire, defense: Defense, key: str, generator: torch.Generator) -> CombinedIndex | Recovered:
        """The private input that leaks most counts, be it reconstructed or recovered."""
        found: list[CombinedIndex | Recovered] = []
        if self.secrets.numbers is not None:
            numbers = self.secrets.numbers
            shown, many = self._reconstructed(wire, defense, key, generator, numbers)
            unseen = partial(self._unseen, numbers)
            found.append(combined_index(shown, self._inverted(defense), len(self.order), unseen, many))
        if self.secrets.tokens:
            found.append(self._recovered(self.recovery.under(defense, generator), defense))
        return max(found, key=lambda item: (item.index.high, item.index.value))

    @cached_property
    def recovery(self) -> TokenRecovery:
        """Of the private tokens; all defenses share what is found of the edge half."""
        return TokenRecovery(self._first(len(self.order)), self.secrets.tokens, self.seed, self._edge)

    def _recovered(self, one: Recovered, defense: Defense) -> Recovered:
        """The recovery from one release, its high end from many where releases differ."""
        if self.releases == 1 or not (defense.randomizes or self._averaging is not None):
            return one
        several = fused(defense, self.releases)
        key = several.record.model_dump_json()
        if key not in self._by_many:
            recovery = self.recovery if self.averaged is None else self.averaged.recovery
            self._by_many[key] = recovery.under(several, generator_for(self.seed, "many"))
        high = max(one.index.high, self._by_many[key].index.high)
        return replace(one, index=one.index.model_copy(update={"high": high}), note=REPEATS)

    @cached_property
    def averaged(self) -> CutLeakage | None:
        """The same over means of what custom stages draw; None where they draw nothing."""
        return None if self._averaging is None else self._averaging()

    def _inverted(self, defense: Defense) -> InversionIndex | str:
        """What local inversion reconstructs, or why it does not."""
        if self._inversion is None and self._inverting is not None:
            try:
                self._inversion = self._inverting()
            except CollabplanError as error:
                self._inversion = str(error)
        if self._inversion is None:
            return "the edge half was not given"
        return self._inversion if isinstance(self._inversion, str) else self._inversion.index(defense)

    def _unseen(self, numbers: Components) -> float:
        if self._missed is None:
            self._missed = unseen_share(numbers)
        return self._missed

    def _reconstructed(
        self, wire: _Wire, defense: Defense, key: str, generator: torch.Generator, numbers: Components
    ) -> tuple[RidgeIndex, RidgeIndex | None]:
        """What ridge attackers recover from one release and, where releases differ, from many of an input."""
        if is_random(defense):
            return self._under_noise(wire, defense, key, generator, numbers)
        one = self._without_noise(wire, defense, key, numbers)
        if self._averaging is not None:
            return one, self._of_averages(defense, generator)
        if self.releases == 1 or not defense.randomizes:
            return one, None
        undropped = at_rate(defense, lost_by_all(defense.rate, self.releases))
        return one, self._without_noise(wire, undropped, key, numbers)

    def _without_noise(self, wire: _Wire, defense: Defense, key: str, numbers: Components) -> RidgeIndex:
        """A function of mask and rate alone: many releases at one rate may be one at another, found already."""
        kind = "none" if defense.record.dropout is None else defense.record.dropout.granularity
        at = key, kind, defense.rate
        if at not in self._shown:
            draws = self._draws(defense, wire, key)
            self._shown[at] = ridge_index([Kernels(masks.gram(defense.rate)) for masks in draws], numbers)
        return self._shown[at]

    def _under_noise(
        self, wire: _Wire, defense: Defense, key: str, generator: torch.Generator, numbers: Components
    ) -> tuple[RidgeIndex, RidgeIndex | None]:
        tested = self._first(tested_count(len(self.order)))
        undropped = without_dropout(defense)
        noisy = replace(wire.clean, parts=tuple(
            part.reshape(part.shape[0], -1).T for part in undropped.observed(undropped.release(tested, generator))
        ))  # fmt: skip

        def kernels(at: Defense) -> list[Kernels]:
            draws = self._draws(at, wire, key)
            return [Kernels(masks.gram(at.rate), masks.cross(noisy, at.rate)) for masks in draws]

        single = kernels(defense)
        one = ridge_index(single, numbers)
        if self._averaging is not None:
            return one, self._of_averages(defense, generator)
        if self.releases == 1:
            return one, None
        rate = lost_by_all(defense.rate, self.releases)
        repeated = single if rate == defense.rate else kernels(at_rate(defense, rate))
        return one, ridge_index([each.mean_of(self.releases) for each in repeated], numbers)

    def _of_averages(self, defense: Defense, generator: torch.Generator) -> RidgeIndex:
        """What `MANY` releases show where custom stages draw."""
        mine = self.averaged
        assert mine is not None
        assert mine.secrets.numbers is not None
        key = wire_key(defense)
        one, many = mine._reconstructed(mine._wire(key, defense), defense, key, generator, mine.secrets.numbers)
        return one if many is None else many


def _replayed(
    edge: Callable[[Data], Sequence[Tensor]], one: Data, cut: Cut | CutProfile, tokens: dict[int, Tensor]
) -> list[Tensor]:
    """Rows of the private crossings for tokens `[n, L]` by the input's position; other inputs are those of `one`."""
    count = len(next(iter(tokens.values())))
    inputs = [
        tokens[at].reshape(count, *own.shape[1:]).to(own.dtype) if at in tokens else own.expand(count, *own.shape[1:])
        for at, own in enumerate(one.inputs)
    ]
    return [row.detach().cpu() for row in _private_rows(edge(Data(tuple(inputs))), cut)]


def _certain(value: float) -> Leakage:
    return Leakage(index=Interval(value=value, low=value, high=value), status="by-definition", sample_count=0)


def _private_rows(rows: Sequence[Tensor], cut: Cut | CutProfile) -> list[Tensor]:
    private = [crossing for crossing in cut.crossing if not crossing.public]
    if len(rows) == len(cut.crossing):
        return [row for row, crossed in zip(rows, cut.crossing, strict=True) if not crossed.public]
    if len(rows) == len(private):
        return list(rows)
    names = ", ".join(crossed.name for crossed in private)
    raise CollabplanError(f"expected rows of the {len(private)} private crossings ({names}), got {len(rows)} tensors")


def _attenuated(wire: _Wire, defense: Defense) -> Tensor:
    """`[N, N]`: squared distances expected over masks."""
    keeps = [1 - defense.rate if drops else 1.0 for drops in dropped(defense)]
    total = wire.distances[0] * keeps[0]
    for distances, keep in zip(wire.distances[1:], keeps[1:], strict=True):
        total = total + distances * keep
    return total


def _record(name: str, found: Sequence[Estimate]) -> InformationEstimate:
    """One estimate, averaged over masks."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    return InformationEstimate(
        estimator=name,
        value_nats=mean([item.value for item in found]) or 0.0,
        lower_nats=mean([item.lower for item in found]),
        upper_nats=mean([item.upper for item in found]),
        meaning=found[0].meaning,
        saturated=any(item.saturated for item in found),
        sample_count=found[0].samples,
        assumes=found[0].assumes,
    )
