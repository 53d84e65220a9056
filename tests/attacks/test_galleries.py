"""Audits keep galleries, which are read without the model; damaged ones are left out."""

from pathlib import Path

import report_plans as made
import torch
from collabplan.attacks import attack_named, run_audit
from collabplan.attacks.conformance import EFFORT, toy_request
from collabplan.attacks.galleries import ENDING, keep_gallery, kept_galleries

ATTACKS = [attack_named("prior"), attack_named("ridge")]


def test_an_audit_keeps_its_figures_originals_and_pictures(tmp_path: Path) -> None:
    outcome = run_audit(toy_request(), ATTACKS, EFFORT, seed=0, folder=tmp_path)
    (found,) = kept_galleries(tmp_path)
    assert found.audit == outcome.record
    assert found.model == toy_request().target.traced.identity
    assert set(found.pictures) == set(outcome.pictures)
    for levels, images in ((found.originals, outcome.originals), (found.pictures["ridge"], outcome.pictures["ridge"])):
        wanted = (images.clamp(0, 1) * 255).round().to(torch.uint8)[: len(levels)]
        assert torch.equal(torch.from_numpy(levels), wanted)
    assert any(name.startswith("attack:") for name in found.revisions)


def test_originals_are_kept_as_they_are_whatever_their_strides(tmp_path: Path) -> None:
    pictures = torch.rand(2, 4, 5, 3, generator=torch.Generator().manual_seed(0)).permute(0, 3, 1, 2)  # as JPEGs come
    model, audit = toy_request().target.traced.identity, made.gallery(made.candidate()).audit
    keep_gallery(tmp_path, "strided", audit, model, None, pictures, {"ridge": "none.safetensors"}, {})
    (found,) = kept_galleries(tmp_path)
    assert torch.equal(torch.from_numpy(found.originals), (pictures * 255).round().to(torch.uint8))


def test_the_same_audit_again_keeps_one_gallery(tmp_path: Path) -> None:
    for _ in range(2):
        run_audit(toy_request(), ATTACKS, EFFORT, seed=0, folder=tmp_path)
    assert len(list(tmp_path.glob(f"*{ENDING}"))) == 1


def test_a_damaged_gallery_is_left_out_and_a_missing_picture_too(tmp_path: Path) -> None:
    made.write_gallery(tmp_path, made.gallery(made.candidate()), "whole")
    (tmp_path / f"broken{ENDING}").write_bytes(b"no tensors")
    (tmp_path / "whole-ridge.safetensors").unlink()
    (found,) = kept_galleries(tmp_path)
    assert set(found.pictures) == {"inverse"}


def test_a_gallery_reaches_no_file_outside_its_folder(tmp_path: Path) -> None:
    made.write_gallery(tmp_path / "audits", made.gallery(made.candidate()), "whole")
    (tmp_path / "audits" / "whole-ridge.safetensors").rename(tmp_path / "whole-ridge.safetensors")
    place = tmp_path / "audits" / f"whole{ENDING}"
    place.write_bytes(place.read_bytes().replace(b"whole-ridge.safetensors", b"../whole-ridge.safetens"))
    assert all("ridge" not in each.pictures for each in kept_galleries(tmp_path / "audits"))
