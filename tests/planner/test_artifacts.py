"""Machines share what was expensive; a store that is damaged or gone loses nothing."""

import dataclasses
import io
from pathlib import Path

import pytest
from collabplan.attacks import EFFORTS, attack_named
from collabplan.planner import AuditOptions, SearchOptions
from collabplan.planner.artifacts import Artifacts, open_artifacts
from collabplan.planner.audits import STEERING, Audits
from collabplan.planner.evaluator import Evaluator
from collabplan.records import CollabplanError, Tuning, hash_tensors
from defense_records import grid, point_at
from optuna.artifacts.exceptions import ArtifactNotFound

QUICK = dataclasses.replace(EFFORTS["quick"], targets=40, fit_samples=60, train_steps=5)
AUDIT = AuditOptions(QUICK, QUICK, (attack_named("prior"), attack_named("ridge")), seeds=1)
OPTIONS = SearchOptions(defenses=grid(rates=[0.6]), draws=2, leakage_samples=100, audit=AUDIT, tuning=Tuning(epochs=1))


class Bucket:
    """A store in memory that counts what it is asked; a bucket behaves so."""

    def __init__(self):
        self.files, self.reads = {}, 0

    def open_reader(self, artifact_id):
        self.reads += 1
        if artifact_id not in self.files:
            raise ArtifactNotFound("not found")
        return io.BytesIO(self.files[artifact_id])

    def write(self, artifact_id, content_body):
        self.files[artifact_id] = content_body.read()


class Broken(Bucket):
    """No network."""

    def open_reader(self, artifact_id):
        raise ConnectionError(f"no route to {artifact_id}")


def point(problem):
    space = Evaluator(problem, OPTIONS).space
    return point_at(next(cut.id for cut in problem.cuts if space.kinds.get(cut.id)), "element", 0.6)


def worked(problem, folder: Path, artifacts: str):
    """One machine tunes and attacks a candidate; its weights and its audit."""
    found = Evaluator(problem, dataclasses.replace(OPTIONS, artifacts=artifacts), folder)
    weights = found.tuned(point(problem))
    audited = Audits(found, AUDIT, folder / "audits").searched(found.evaluate(point(problem)))
    return weights, audited.audited


def test_the_second_machine_makes_nothing_again(problem, tmp_path, monkeypatch):
    shared = str(tmp_path / "shared")
    weights, audited = worked(problem, tmp_path / "first", shared)
    monkeypatch.setattr("collabplan.planner.evaluator.fine_tune", lambda *_, **__: pytest.fail("tuned again"))
    for name in STEERING:
        monkeypatch.setattr(type(attack_named(name)), "fit", lambda *_, **__: pytest.fail("attacked again"))
    again, same = worked(problem, tmp_path / "second", shared)
    assert hash_tensors(again) == hash_tensors(weights)
    assert same == audited


def test_what_is_damaged_in_the_store_is_made_again(problem, tmp_path):
    shared = tmp_path / "shared"
    _, audited = worked(problem, tmp_path / "first", str(shared))
    for file in (each for each in shared.iterdir() if each.is_file()):
        file.write_bytes(file.read_bytes()[:20])
    _, same = worked(problem, tmp_path / "second", str(shared))
    assert same == audited


def test_files_keep_their_kind_in_a_bucket_and_are_fetched_once(tmp_path):
    bucket = Bucket()
    here, there = (Artifacts(bucket, "s3://bucket/plans", "plans/") for _ in range(2))
    made, wanted = tmp_path / "a" / "tuned" / "12.safetensors", tmp_path / "b" / "tuned" / "12.safetensors"
    made.parent.mkdir(parents=True)
    made.write_bytes(b"weights")
    here.offer(made)
    assert list(bucket.files) == ["plans/tuned-12.safetensors"]
    there.fetch(wanted)
    there.fetch(wanted)
    assert (wanted.read_bytes(), bucket.reads) == (b"weights", 1)
    there.fetch(tmp_path / "b" / "tuned" / "13.safetensors")
    assert not (tmp_path / "b" / "tuned" / "13.safetensors").exists()


def test_a_store_that_fails_is_named(tmp_path):
    with pytest.raises(CollabplanError, match=r"store s3://bucket cannot be read .*no route.* kept in \.collabplan"):
        Artifacts(Broken(), "s3://bucket").fetch(tmp_path / "audits" / "1.json")
    with pytest.raises(CollabplanError, match="names no bucket"):
        open_artifacts("s3://")
    (tmp_path / "file").write_text("")
    with pytest.raises(CollabplanError, match="no folder that can be used"):
        open_artifacts(str(tmp_path / "file"))
