"""Claims: one machine makes what several want, whoever is killed; the others do something else meanwhile."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from collabplan.attacks import claims as dividing
from collabplan.attacks.claims import free_first, turn
from collabplan.attacks.time_limit import Deadline, TimeUp, until
from collabplan.planner.artifacts import Artifacts, open_artifacts
from collabplan.planner.claims import BucketClaims, Claims, ClaimStore, FolderClaims
from collabplan.records import ALONE, CollabplanError
from forked import Forked
from optuna.artifacts import FileSystemArtifactStore


class S3Error(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


class Client:
    """What is used of boto3's client, over a folder, so that processes share it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)

    def _path(self, key):
        return self.folder / key.replace("/", "|")

    def put_object(self, *, Bucket, Key, Body, IfNoneMatch=None):  # noqa: ARG002
        try:
            with open(self._path(Key), "xb" if IfNoneMatch else "wb") as file:
                file.write(Body)
        except FileExistsError:
            raise S3Error("PreconditionFailed") from None

    def list_objects_v2(self, *, Bucket, Prefix):  # noqa: ARG002
        keys = [path.name.replace("|", "/") for path in self.folder.iterdir()]
        found = [{"Key": key} for key in keys if key.startswith(Prefix)]
        return {"Contents": found} if found else {}

    def get_object(self, *, Bucket, Key):  # noqa: ARG002
        try:
            return {"Body": io.BytesIO(self._path(Key).read_bytes())}
        except FileNotFoundError:
            raise S3Error("NoSuchKey") from None

    def delete_object(self, *, Bucket, Key):  # noqa: ARG002
        self._path(Key).unlink(missing_ok=True)


STORES: dict[str, Callable[[Path], ClaimStore]] = {
    "folder": lambda place: FolderClaims(place / "claims"),
    "bucket": lambda place: BucketClaims(Client(place / "bucket"), "plans", "mine/claims/"),
}


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    return STORES[request.param](tmp_path)


def elsewhere(monkeypatch):
    """From here on, claims are another machine's."""
    monkeypatch.setattr("collabplan.planner.claims._MACHINE", "other-1")


def test_one_claim_at_a_time_and_a_given_up_one_is_free(store):
    first, second = Claims(store), Claims(store)
    assert first.claim("a-1.json")
    assert first.claim("a-1.json"), "it has it already"
    assert not second.claim("a-1.json")
    assert second.claim("a-1.json.x"), "another name"
    first.give_up("a-1.json")
    first.give_up("a-1.json")
    assert second.claim("a-1.json")
    second.give_up("a-1.json")
    second.give_up("a-1.json.x")
    assert store.read("") == {}


def test_a_claim_that_shows_no_life_is_taken_over_once(store, monkeypatch):
    now = 0.0
    dead = Claims(store, heartbeat_s=1000)
    assert dead.claim("x")
    elsewhere(monkeypatch)
    watching, other = (Claims(store, grace_s=60, clock=lambda: now) for _ in range(2))
    assert not watching.claim("x")
    assert not other.claim("x")
    now = 59.0
    assert not watching.claim("x")
    now = 61.0
    assert watching.claim("x")
    assert not other.claim("x"), "the claim that took over lives"
    dead.give_up("x")  # it was only slow, and ends what is its own
    assert not other.claim("x")
    watching.give_up("x")
    assert other.claim("x")
    other.give_up("x")
    assert store.read("") == {}


def test_signs_of_life_keep_a_claim(store, monkeypatch):
    now = 0.0
    living = Claims(store, heartbeat_s=0.01)
    assert living.claim("x")
    elsewhere(monkeypatch)
    watching = Claims(store, grace_s=60, clock=lambda: now)
    for _ in range(4):
        assert not watching.claim("x")
        before, patience = store.read("x"), time.monotonic() + 5
        while store.read("x") == before and time.monotonic() < patience:
            time.sleep(0.005)
        now += 50
    living.give_up("x")


def hold(place, kind):
    assert Claims(STORES[kind](place)).claim("x")
    print("claimed", flush=True)
    time.sleep(60)


@pytest.mark.parametrize("kind", STORES)
def test_the_claim_of_a_killed_process_of_this_machine_is_free_at_once(tmp_path, kind):
    with Forked(hold, tmp_path, kind) as child:
        assert child.stdout.readline().strip() == "claimed"
        claims = Claims(STORES[kind](tmp_path))
        assert not claims.claim("x")
        child.kill()
        assert claims.claim("x")
        claims.give_up("x")


JOBS = [f"{number}.json" for number in range(6)]


def exchange(place, kind):
    files = FileSystemArtifactStore(place / "files")
    claims = Claims(STORES[kind](place), heartbeat_s=0.1, grace_s=1.0)
    return Artifacts(files, "here", claims=claims)


def machine(place, kind, own, pause_s):
    """Makes what is left of the jobs, and says what it made and in which order it had them."""
    dividing.POLL_S = 0.02
    shared, folder = exchange(place, kind), place / own / "audits"
    folder.mkdir(parents=True)
    had = []
    for job in free_first(JOBS, lambda job: folder / job, shared):
        with turn(folder / job, shared):
            shared.fetch(folder / job)
            if not (folder / job).is_file():
                print(f"made {job}", flush=True)
                time.sleep(pause_s)
                (folder / job).write_text(json.dumps({"job": job, "by": own}))
                shared.offer(folder / job)
        had.append(json.loads((folder / job).read_text())["job"])
    assert sorted(had) == JOBS


@pytest.mark.parametrize("kind", STORES)
def test_three_machines_divide_the_work_and_a_killed_one_loses_its_claim(tmp_path, kind):
    (tmp_path / "files").mkdir()
    with ExitStack() as stack:
        victim = stack.enter_context(Forked(machine, tmp_path, kind, "victim", 30))
        begun = victim.stdout.readline().split()[1]
        others = [stack.enter_context(Forked(machine, tmp_path, kind, f"other{at}", 0.1)) for at in range(2)]
        first = [other.stdout.readline().split()[1] for other in others]
        assert len({begun, *first}) == 3, "all three are at something else"
        victim.kill()
        made = [*first, *(line.split()[1] for other in others for line in other.output())]
    assert sorted(made) == JOBS, "each once, also that of the killed one"
    left = [path for path in tmp_path.rglob("*") if "claims" in path.name or path.parent.name == "claims"]
    assert [path.name for path in left if path.is_file()] == []


def test_alone_the_jobs_come_in_their_order(tmp_path):
    assert list(free_first(JOBS, lambda job: tmp_path / job, ALONE)) == JOBS
    assert list(free_first(JOBS, lambda _: None, ALONE)) == JOBS


def test_what_is_here_needs_no_claim_and_a_job_that_fails_gives_its_claim_up(tmp_path):
    shared, place = open_artifacts(str(tmp_path / "shared")), tmp_path / "audits" / "1.json"
    with pytest.raises(RuntimeError), turn(place, shared):
        raise RuntimeError("broken")
    for job in free_first([1], lambda _: place, shared):
        assert job == 1  # and nothing is done with it
    assert list((tmp_path / "shared" / "claims").iterdir()) == []
    place.parent.mkdir()
    place.write_text("{}")
    with turn(place, shared):
        assert list((tmp_path / "shared" / "claims").iterdir()) == []


def test_a_deadline_ends_the_wait(tmp_path):
    first, second = (open_artifacts(str(tmp_path / "shared")) for _ in range(2))
    place = tmp_path / "audits" / "1.json"
    assert first.reserve(place)
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds

    with pytest.raises(TimeUp), until(Deadline(10, lambda: now)), turn(place, second, sleep):
        pass
    first.release(place)


def test_a_store_that_fails_is_named(tmp_path):
    class Away(FolderClaims):
        def create(self, name, text):  # noqa: ARG002
            raise OSError("stale file handle")

    shared = Artifacts(FileSystemArtifactStore(tmp_path), "s3://bucket", claims=Claims(Away(tmp_path)))
    with pytest.raises(CollabplanError, match=r"store s3://bucket cannot be written .*stale file handle"):
        shared.reserve(tmp_path / "audits" / "1.json")
    shared.release(tmp_path / "audits" / "1.json")


def test_without_claims_each_machine_makes_what_it_does_not_find(tmp_path):
    shared = Artifacts(FileSystemArtifactStore(tmp_path), "here")
    assert shared.reserve(tmp_path / "1.json")
    assert os.listdir(tmp_path) == []
