"""A kept result is served only to the question, the settings and the revisions that made it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from attack_views import EFFORT, audit_target, digits, first_layer
from collabplan.attacks import ATTACKS, AuditOutcome, AuditRequest, AuditTarget, attack_named, run_audit
from collabplan.attacks.audit_files import kept_revisions
from collabplan.attacks.audit_keys import attack_key, attack_revisions, fit_key, fit_seed
from collabplan.attacks.catalogue import current_revisions
from collabplan.attacks.likelihood import MaximumLikelihood
from collabplan.attacks.ridge import KernelRidge
from collabplan.defenses.catalogue import current_revisions as stage_revisions
from collabplan.defenses.pipeline import seed_marks
from collabplan.records import hash_json
from collabplan.records.revisions import outdated

KERNEL = (attack_named("prior"), attack_named("ridge"), attack_named("kernel"))


@pytest.fixture(scope="module")
def device() -> AuditTarget:
    return audit_target(first_layer(), 6)


def audited(device: AuditTarget, folder: Path) -> AuditOutcome:
    targets, intercepted, own = digits()
    return run_audit(
        AuditRequest(device, targets, own, intercepted), KERNEL, EFFORT, seed=0, folder=folder, racing=False
    )


def content(folder: Path) -> dict[str, str]:
    return {
        place.name: hashlib.sha256(place.read_bytes()).hexdigest()
        for place in folder.iterdir()
        if ".gallery." not in place.name
    }


def test_a_result_of_another_revision_is_not_served_and_not_deleted(
    device: AuditTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits, fit = [], KernelRidge.fit

    def counted(self: KernelRidge, *given: object) -> object:
        fits.append(self.revision)
        return fit(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(KernelRidge, "fit", counted)
    audited(device, tmp_path)
    before = content(tmp_path)
    audited(device, tmp_path)
    revision = KernelRidge.revision
    assert fits == [revision], "the same revision is served"
    assert content(tmp_path) == before
    monkeypatch.setattr(KernelRidge, "revision", revision + 1)
    audited(device, tmp_path)
    assert fits == [revision, revision + 1], "another revision is not"
    after = content(tmp_path)
    assert before.items() < after.items(), "what the older revision made is still there"
    assert len(after) == len(before) + 1, "the other attacks' results are served as before"
    current = {**current_revisions(), **stage_revisions()}
    stale = [
        place
        for place in tmp_path.iterdir()
        if ".gallery." not in place.name and outdated(kept_revisions(place) or {}, current)
    ]
    assert len(stale) == 1, "the older result alone is outdated"


@pytest.mark.parametrize("part", ["RELEASES", "JUDGE", "LINKAGE", "ATTRIBUTES"])
def test_every_kept_file_says_by_which_revisions_it_was_made(device: AuditTarget, tmp_path: Path, part: str) -> None:
    from collabplan.attacks import audit_keys

    audited(device, tmp_path)
    kept = [kept_revisions(place) for place in tmp_path.iterdir()]
    assert all(kept)
    assert any(f"audit:{getattr(audit_keys, part).name}" in (each or {}) for each in kept)
    assert all("stage:quantizer" in (each or {}) for each in kept), "a stage's revision makes a result outdated too"


def test_the_settings_of_an_attack_are_part_of_its_key() -> None:
    first, second = MaximumLikelihood(starts=1), MaximumLikelihood(starts=2)
    assert attack_key(first) != attack_key(second)
    assert attack_key(second) == attack_key(MaximumLikelihood())
    assert attack_revisions(first) == attack_revisions(second)


def test_a_raised_revision_changes_the_key_of_a_shared_fit_and_not_its_draws(
    device: AuditTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack, own = attack_named("ridge"), digits()[2]

    def key_and_seed() -> tuple[str, str]:
        return fit_key(attack, device.defense, own, EFFORT), fit_seed(attack, device.defense, own)

    before = key_and_seed()
    monkeypatch.setattr(type(attack), "revision", attack.revision + 1)
    after = key_and_seed()
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert fit_key(attack, device.defense, own, replace(EFFORT, width=16)) != after[0]


SEED_TEXTS = {
    "prior": "PriorOnly(name='prior', threat='query-free', per_image=False)",
    "ridge": "LinearRidge(name='ridge', threat='black-box', per_image=False)",
    "kernel": "KernelRidge(name='kernel', threat='black-box', per_image=False)",
    "retrieval": "Retrieval(name='retrieval', threat='black-box', per_image=False)",
    "recognition": "Recognition(name='recognition', threat='black-box', per_image=False)",
    "inverse": "InverseNetwork(name='inverse', threat='black-box', per_image=False)",
    "likelihood": "MaximumLikelihood(priors=((0.0, 0.0), (0.001, 0.0), (0.01, 0.0), (0.01, 0.01), (0.1, 0.0), "
    "(0.1, 0.1), (1.0, 1.0)), starts=2, name='likelihood', threat='white-box', per_image=True)",
    "refined": "Refined(weights=(1.0, 0.1, 0.01, 0.001, 0.0001, 1e-05), name='refined', threat='white-box', "
    "per_image=True)",
    "latent": "LatentPrior(name='latent', threat='white-box', per_image=True)",
    "untrained": "UntrainedPrior(name='untrained', threat='white-box', per_image=True)",
    "shadow-same": "ShadowModel(same_architecture=True, threat='query-free', per_image=False)",
    "shadow-other": "ShadowModel(same_architecture=False, threat='query-free', per_image=False)",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_draws_of_a_shared_fit_are_seeded_by_a_wording_that_never_changes(device: AuditTarget, name: str) -> None:
    """With other draws every undefended figure would change."""
    own = digits()[2]
    expected = hash_json([SEED_TEXTS[name], seed_marks(device.defense), own.content_hash])
    assert fit_seed(attack_named(name), device.defense, own) == expected


class Plain:
    """An attack that is no dataclass: its `repr` names an address, which differs from run to run."""

    name, revision, threat, per_image = "plain", 1, "black-box", False
    fit = None


def test_draws_of_an_attack_that_is_no_dataclass_do_not_depend_on_its_address(device: AuditTarget) -> None:
    first, second = (fit_seed(Plain(), device.defense, digits()[2]) for _ in range(2))  # type: ignore[arg-type]
    assert first == second
