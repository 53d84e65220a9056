"""The suite: the worst attack counts, failed ones are failed, and finished ones are never repeated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from attack_views import EFFORT, Constant, audit_target, digits, first_layer
from collabplan.attacks import (
    AdversaryView,
    ArtifactCache,
    Attack,
    Attacker,
    AttackFailed,
    AuditOutcome,
    AuditRequest,
    AuditTarget,
    Effort,
    ObservedReleases,
    Reconstruction,
    Training,
    attack_named,
    audit_data,
    budget_objection,
    run_audit,
)
from collabplan.attacks.audit_data import AuditData
from collabplan.attacks.audit_request import AttackVariant
from collabplan.attacks.ridge import LinearRidge
from collabplan.estimators.inversion import MANY
from collabplan.records import AttackResult, Threat
from collabplan.targets import Data
from defense_records import defense_record
from torch import Tensor

CHEAP = tuple(attack_named(name) for name in ("prior", "ridge"))


@dataclass(frozen=True)
class Pretender:
    """Answers with whatever it was told to, and counts how often it was fitted."""

    images: Tensor
    converged: bool = True
    fits: list[int] = field(default_factory=list, repr=False)
    revision: ClassVar[int] = 1
    name: str = "pretender"
    threat: Threat = "white-box"
    per_image: bool = True

    @property
    def training(self) -> Training:
        return Training(10, (1.0, 0.5), self.converged)

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Pretender:  # noqa: ARG002
        self.fits.append(1)
        return self

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        return Reconstruction(self.images[: len(released)])


class Broken(Pretender):
    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Pretender:  # noqa: ARG002
        raise AttackFailed("the loss is nan")


def request_for(device: AuditTarget, **more: object) -> AuditRequest:
    targets, intercepted, own = digits()
    return AuditRequest(device, targets, own, intercepted, **more)  # type: ignore[arg-type]


def audited(
    device: AuditTarget, *attacks: Attack, until_converged: bool = False, folder: Path | None = None
) -> AuditOutcome:
    effort = replace(EFFORT, until_converged=until_converged)
    return run_audit(request_for(device), [*CHEAP, *attacks], effort, seed=0, folder=folder)


def result(outcome: AuditOutcome, name: str) -> AttackResult:
    return next(each for each in outcome.record.attacks if each.attack == name)


@pytest.fixture(scope="module")
def device() -> AuditTarget:
    return audit_target(first_layer(), 6)


def test_a_stronger_tier_leaks_no_less_than_a_weaker_one(device: AuditTarget) -> None:
    outcome = audited(device, attack_named("likelihood"))
    indices = [tier.index.value for tier in outcome.record.tiers]
    assert [tier.threat for tier in outcome.record.tiers] == ["query-free", "black-box", "white-box"]
    assert indices == sorted(indices)
    assert indices[0] <= 0.01
    assert indices[-1] > 0.95
    assert outcome.record.tiers[-1].conclusive
    weakest, *_, strongest = outcome.record.tiers
    assert weakest.features_excess is not None
    assert strongest.features_excess is not None
    assert strongest.ssim_excess is not None
    assert weakest.features_excess.value == 0.0
    assert strongest.features_excess.value > 0.5
    assert strongest.ssim_excess.value > 0.5
    assert strongest.ms_ssim is None, "16 pixels admit one scale"


def test_the_first_layer_is_linked_and_so_are_near_copies_under_dropout() -> None:
    found = audited(audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.9)))
    rates = {rate.copies: rate.rate.value for rate in found.record.linkage}
    assert rates["exact"] == 1.0
    assert rates["near"] > 0.25, "chance is 0.005"


def test_a_constant_release_gives_nothing_to_any_attack() -> None:
    outcome = audited(audit_target(Constant(), 1), attack_named("likelihood"))
    assert outcome.record.tiers
    assert outcome.record.linkage
    for tier in outcome.record.tiers:
        assert tier.index.value <= 0.01
        assert tier.reidentification.value == pytest.approx(outcome.record.chance, abs=0.01)
    assert all(rate.rate.value == pytest.approx(rate.chance) for rate in outcome.record.linkage)
    assert result(outcome, "likelihood").status == "failed"
    assert not outcome.record.tiers[-1].conclusive or outcome.record.tiers[-1].threat != "white-box"


def test_a_diverging_attack_is_failed_and_has_no_figures(device: AuditTarget) -> None:
    outcome = audited(device, Broken(torch.zeros(8, 1, 16, 16)))
    found = result(outcome, "pretender")
    assert (found.status, found.figures, found.reason) == ("failed", None, "the loss is nan")


def test_a_finished_attack_is_not_repeated(device: AuditTarget, tmp_path: Path) -> None:
    attack = Pretender(digits()[0].inputs[0][:8])
    first = audited(device, attack, folder=tmp_path)
    again = audited(device, attack, folder=tmp_path)
    assert len(attack.fits) == 1
    assert again.record == first.record
    assert set(again.pictures) == set(first.pictures)


def test_a_damaged_result_is_made_again(device: AuditTarget, tmp_path: Path) -> None:
    attack = Pretender(digits()[0].inputs[0][:8])
    first = audited(device, attack, folder=tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:20])
    again = audited(device, attack, folder=tmp_path)
    assert len(attack.fits) == 2
    assert [each.figures for each in again.record.attacks] == [each.figures for each in first.record.attacks]


def test_another_seed_or_defense_is_another_question(device: AuditTarget, tmp_path: Path) -> None:
    attack = Pretender(digits()[0].inputs[0][:8])
    audited(device, attack, folder=tmp_path)
    run_audit(request_for(device), [*CHEAP, attack], EFFORT, seed=1, folder=tmp_path)
    audited(audit_target(first_layer(), 6, defense_record(bits=6)), attack, folder=tmp_path)
    assert len(attack.fits) == 3


def test_probes_find_the_class_and_not_a_coin() -> None:
    device = audit_target(first_layer(), 6)
    targets, intercepted, own = digits()
    assert targets.labels is not None
    assert intercepted.labels is not None
    asked = AuditRequest(device, targets, own, intercepted, sensitive=(targets.labels, intercepted.labels))
    found = run_audit(asked, CHEAP, EFFORT, seed=0).record
    assert {rate.probe for rate in found.attributes} == {"linear", "mlp"}
    assert max(rate.accuracy.value for rate in found.attributes) > 0.7
    coins = torch.randint(0, 2, (200,), generator=torch.Generator().manual_seed(0))
    asked = AuditRequest(device, targets, own, intercepted, sensitive=(coins, coins.roll(3)))
    found = run_audit(asked, CHEAP, EFFORT, seed=0).record
    assert max(rate.accuracy.value for rate in found.attributes) < 0.65


def dropping(masks: str = "fresh") -> AuditTarget:
    return audit_target(first_layer(), 6, defense_record(dropout="element", rate=0.7, masks=masks))  # type: ignore[arg-type]


def test_keyed_masks_are_tried_on_near_duplicates_alone() -> None:
    fresh, keyed = audited(dropping()), audited(dropping("keyed"))
    near = f"ridge ({MANY} releases), near-duplicates"
    assert f"ridge ({MANY} releases)" in {each.attack for each in fresh.record.attacks}
    assert f"ridge ({MANY} releases)" not in {each.attack for each in keyed.record.attacks}
    once, repeated = (result(keyed, name).figures for name in ("ridge", near))
    assert once is not None
    assert repeated is not None
    assert repeated.index.low > once.index.high, "a key per input does not protect near-duplicates"
    assert result(keyed, near).copies.startswith("still, noise ")
    (note,) = keyed.record.notes
    assert f"{result(keyed, near).copies}: " in note
    assert [rate.queries for rate in keyed.record.linkage] == [1, MANY, 1, MANY]


def test_a_search_gives_keyed_masks_ten_near_duplicates_as_it_gives_fresh_ones_ten_releases() -> None:
    found = [
        run_audit(request_for(dropping(masks)), CHEAP, EFFORT, seed=0, strongest=True).record
        for masks in ("fresh", "keyed")
    ]
    fresh, keyed = (audit.tiers[-1].index.value for audit in found)
    assert [each.attack for each in found[1].attacks] == ["prior", f"ridge ({MANY} releases), near-duplicates"]
    assert keyed == pytest.approx(fresh, abs=0.02)


@dataclass(frozen=True)
class Slow(Pretender):
    """Recovers all from one release, and from several only with more steps than `enough`."""

    enough: int = 0
    practised: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Pretender:  # noqa: ARG002
        self.fits.append(effort.train_steps)
        learned = view.queries == 1 or effort.train_steps > self.enough
        known, mean = view.pixels(view.held_out), self.images.mean(dim=0)
        timid = [mean + (1.0 if learned else 0.1) * (images - mean) for images in (self.images, known)]
        return replace(self, images=timid[0], practised=timid[1])

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:  # noqa: ARG002
        known = self.practised if len(released) == len(self.practised) else self.images
        return Reconstruction(known[: len(released)])


@pytest.mark.parametrize(("times", "status"), [(1.5, "ok"), (3, "failed")])
def test_less_from_more_releases_is_trained_on_once_and_then_failed(times: float, status: str) -> None:
    attack = Slow(digits()[0].inputs[0], enough=int(times * EFFORT.train_steps))
    found = audited(dropping(), attack).record
    repeated = next(each for each in found.attacks if each.attack == f"pretender ({MANY} releases)")
    assert repeated.status == status
    assert ("under-trained" in repeated.reason) == (status == "failed")
    assert any("is under-trained" in note for note in found.notes) == (status == "failed")
    assert (repeated.attack in found.tiers[-1].failed) == (status == "failed")
    assert attack.fits.count(2 * EFFORT.train_steps) == 1


def test_who_learns_without_dropout_is_fitted_once_for_all_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, fit = [], LinearRidge.fit

    def counted(self: LinearRidge, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        fitted.append(view.believed.rate)
        return fit(self, view, effort, generator)

    monkeypatch.setattr(LinearRidge, "fit", counted)
    artifacts, found = ArtifactCache(0), []
    for rate in (0.3, 0.7):
        place = audit_target(first_layer(), 6, defense_record(dropout="element", rate=rate))
        found.append(run_audit(request_for(place), CHEAP, EFFORT, seed=0, artifacts=artifacts))
    assert sorted(fitted) == [0.0, 0.3, 0.3, 0.7, 0.7], "naive once; adaptive and many releases per rate"
    alone = run_audit(request_for(place), CHEAP, EFFORT, seed=0)
    assert result(alone, "ridge (naive)").figures == result(found[1], "ridge (naive)").figures


def test_images_of_another_kind_do_not_make_an_attacker_look_stronger_or_a_tier_inconclusive(
    device: AuditTarget,
) -> None:
    noise = Data((torch.rand(600, 1, 16, 16, generator=torch.Generator().manual_seed(0)),))
    asked = request_for(device, others={"random queries": noise})
    outcome = run_audit(asked, CHEAP, replace(EFFORT, name="standard"), seed=0)
    own, other = (result(outcome, name).figures for name in ("ridge", "ridge (random queries)"))
    assert own is not None
    assert other is not None
    assert other.index.value <= own.index.value
    wild = run_audit(asked, [*CHEAP, Guessing()], replace(EFFORT, name="standard"), seed=0)
    assert result(wild, "guessing (random queries)").status == "failed"
    assert wild.record.tier("black-box").conclusive


@dataclass(frozen=True)
class Guessing:
    """The mean image where it owns images of the targets' kind, else noise."""

    revision: ClassVar[int] = 1
    name: str = "guessing"
    threat: Threat = "black-box"
    per_image: bool = False

    def fit(self, view: AdversaryView, effort: Effort, generator: torch.Generator) -> Attacker:
        known = torch.equal(view.auxiliary.inputs[0], digits()[2].inputs[0])
        return attack_named("prior").fit(view, effort, generator) if known else Noise()


class Noise:
    training = Training()

    def reconstruct(self, released: ObservedReleases, generator: torch.Generator) -> Reconstruction:
        return Reconstruction(torch.rand(len(released), 1, 16, 16, generator=generator).round())


def test_an_audit_shows_a_budget_to_hold_only_where_it_is_sound(device: AuditTarget) -> None:
    own = digits()[0].inputs[0][:8]
    mean = digits()[2].inputs[0].mean(dim=0).expand(8, 1, 16, 16)
    constant = audit_target(Constant(), 1)
    cheap = run_audit(request_for(constant), CHEAP, replace(EFFORT, name="standard"), seed=0).record
    assert "3 attacker seeds instead of 1; 500 targets instead of 100" in str(budget_objection(cheap, 0.1))
    enough = [tier.model_copy(update={"target_count": 500}) for tier in cheap.tiers]
    assert budget_objection(cheap.model_copy(update={"seeds": 3, "tiers": tuple(enough)}), 0.1) is None
    assert "against 0.1" in str(budget_objection(audited(device).record, 0.1))
    assert "lower bounds" in str(budget_objection(audited(constant).record, 0.1))
    failed = run_audit(
        request_for(constant), [*CHEAP, Pretender(mean, converged=False)],
        replace(EFFORT, name="standard", until_converged=True), seed=0,
    )  # fmt: skip
    assert "attacks that did not end: FAILED pretender" in str(budget_objection(failed.record, 0.1))
    assert "index up to 1.000" in str(budget_objection(audited(device, Pretender(own)).record, 0.9))


def test_an_attack_below_the_prior_is_failed_and_leaves_its_tier_inconclusive(device: AuditTarget) -> None:
    wild = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0)).round()
    outcome = audited(device, Pretender(wild))
    found = result(outcome, "pretender")
    assert found.status == "failed"
    assert "below the prior" in found.reason
    tiers = {tier.threat: tier for tier in outcome.record.tiers}
    assert not tiers["white-box"].conclusive
    assert tiers["white-box"].failed == ("pretender",)
    assert tiers["black-box"].conclusive


def test_an_attack_that_has_not_converged_is_failed_where_convergence_was_asked_for(device: AuditTarget) -> None:
    own = digits()[0].inputs[0][:8]
    assert result(audited(device, Pretender(own, converged=False)), "pretender").status == "ok"
    outcome = audited(device, Pretender(own, converged=False), until_converged=True)
    assert "not converged" in result(outcome, "pretender").reason
    assert not outcome.record.tiers[-1].conclusive
    assert outcome.record.tiers[-1].index.value > 0.9, "what was recovered was recovered"


def test_images_that_are_not_finite_are_a_failed_attack(device: AuditTarget) -> None:
    found = result(audited(device, Pretender(torch.full((8, 1, 16, 16), torch.nan))), "pretender")
    assert "not finite" in found.reason


def test_an_attacker_with_few_images_recovers_more_by_shifting_them() -> None:
    targets, intercepted, own = digits()
    asked = AuditRequest(dropping(), targets, own.take(torch.arange(60)), intercepted)
    few, many = (
        run_audit(asked, CHEAP, replace(EFFORT, fit_samples=samples), seed=0).record.tier("black-box").index
        for samples in (60, 600)
    )
    assert many.low > few.high


@pytest.mark.parametrize(("shifted", "room"), [(0.49, 0), (0.6, EFFORT.fit_samples)])
def test_shifted_copies_that_do_harm_are_left_out(shifted: float, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_data, "linear_index", lambda view, _: shifted if view.room else 0.5)
    targets, intercepted, own = digits()
    asked = AuditRequest(dropping(), targets, own.take(torch.arange(200)), intercepted)
    data = AuditData(asked, EFFORT, 0, ArtifactCache(0))
    variant = AttackVariant(attack_named("ridge"), queries=MANY)
    assert data.view("black-box", variant).room == room
    assert data.view("white-box", variant).room == room, "`refined` starts where `inverse` ends"
    assert data.view("query-free", variant).room == 0
