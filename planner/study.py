"""Where trials are kept: an Optuna study in SQLite, one writer at a time, safe against kill -9.

A trial enters the study in one transaction once it is evaluated. A kill therefore leaves either the
whole trial or nothing of it: no half-written trial, and no RUNNING one left behind. RUNNING trials
that somebody else's program left are failed when the study is opened. The database is laid out in a
temporary file and renamed, so that a kill during creation leaves no half-made tables either.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
import pydantic
import sqlalchemy.exc
from optuna.trial import TrialState, create_trial

from ..records import (
    DEFAULT_OBJECTIVES,
    Budgets,
    Candidate,
    CollabplanError,
    DefenseRecord,
    MismatchError,
    Objective,
    StudySetup,
    hash_json,
)
from ..records.atomic import make_file, write_failure
from ..records.files import other_version
from .budgets import checks
from .folder_lock import locked
from .space import Point, Space, point_of

Figure = tuple[str, Literal["minimize", "maximize"], Callable[[Candidate], float | None]]

FIGURES: dict[Objective, Figure] = {
    "accuracy": ("accuracy", "maximize", lambda candidate: candidate.accuracy.accuracy.value),
    "latency": ("latency_p95_ms", "minimize", lambda candidate: candidate.latency.p95_ms),
    "leakage": ("leakage_index", "minimize", lambda candidate: candidate.index.value),
    "energy": ("edge_energy_mj", "minimize", lambda candidate: candidate.edge_energy_mj),
    "payload": ("payload_bytes", "minimize", lambda candidate: candidate.payload_bytes),
}
"""What the study shows of an objective: its name with the unit, its direction, its value."""

_MARK, _VERSION_MARK = "objectives", "schema version"
SCHEMA_VERSION: int = StudySetup.model_fields["schema_version"].default
_FINGERPRINT = "collabplan.fingerprint"
CANDIDATE = "collabplan.candidate"
_BESIDE, _TRIED = "collabplan.beside", "collabplan.tried"
_PREFIX = "search-"
_STORAGE_FAILURES = (
    sqlite3.Error,
    sqlalchemy.exc.SQLAlchemyError,
    optuna.exceptions.OptunaError,
    RuntimeError,  # another version's table layout
    KeyError,  # rows missing from a damaged file
    ValueError,
    AssertionError,
)


@dataclass
class StoredStudy:
    """One study and its completed trials, wherever it is kept. `objectives` are what it shows and is searched by.

    `differs` says how a study that was just begun differs from the latest one beside it; "" if there is none.
    """

    path: Path | str
    name: str
    space: Space
    objectives: tuple[Objective, ...]
    differs: str
    _study: optuna.Study

    def values(self, candidate: Candidate) -> list[float]:
        """What Optuna is told, in the order of `objectives`. Raises CollabplanError where energy is not known."""
        known = [FIGURES[name][2](candidate) for name in self.objectives]
        if None in known:
            raise CollabplanError("energy is an objective of this study, and nothing is known of the device's power")
        return [float(value) for value in known if value is not None]

    def completed(self) -> list[Candidate]:
        """The candidates of all completed trials, in the order of their completion.

        Raises:
            CollabplanError: the study cannot be read, or a trial in it is not ours.
        """
        with storage_errors(self.path):
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        try:
            return [Candidate.model_validate(trial.user_attrs[CANDIDATE]) for trial in trials]
        except (KeyError, pydantic.ValidationError):
            raise CollabplanError(
                f"study {self.name} in {self.path} holds a trial that collabplan did not write (or another version "
                "wrote); run with --fresh to start a new study beside it"
            ) from None

    def beside(self, split: str) -> list[Candidate]:
        """What was measured on a split beside the trials. What cannot be read is left out.

        Raises:
            CollabplanError: the study cannot be read.
        """
        found = []
        for kept in self._attributes(f"{_BESIDE}.{split}."):
            with contextlib.suppress(pydantic.ValidationError):
                found.append(Candidate.model_validate(kept))
        return found

    def keep_beside(self, candidate: Candidate, split: str) -> None:
        """Keep what was measured on a split and is no trial. Raises CollabplanError where that is not possible."""
        name = f"{_BESIDE}.{split}.{hash_json(point_of(candidate).key)[:24]}"
        with storage_errors(self.path):
            self._study.set_user_attr(name, candidate.model_dump(mode="json"))

    def tried(self, question: str) -> set[Point]:
        """The points that were tried on the confirm split for a question. Raises CollabplanError as `beside`."""
        found = set()
        for kept in self._attributes(f"{_TRIED}.{question[:24]}."):
            with contextlib.suppress(pydantic.ValidationError, KeyError, TypeError):
                found.add(Point(kept["cut"], DefenseRecord.model_validate(kept["defense"])))
        return found

    def note_try(self, question: str, point: Point) -> None:
        """Count a try on the confirm split, before it is made. Raises CollabplanError where that is not possible."""
        kept = {"cut": point.cut_id, "defense": point.defense.model_dump(mode="json")}
        with storage_errors(self.path):
            self._study.set_user_attr(f"{_TRIED}.{question[:24]}.{hash_json(point.key)[:24]}", kept)

    def _attributes(self, prefix: str) -> list[Any]:
        with storage_errors(self.path):
            return [kept for name, kept in self._study.user_attrs.items() if name.startswith(prefix)]


@dataclass
class TrialStore(StoredStudy):
    """A study with one writer. Made by `open_store`."""

    def add(self, candidate: Candidate, budgets: Budgets, started: datetime) -> None:
        """Keep one evaluated candidate: all of it in one transaction, or nothing.

        Raises:
            CollabplanError: no space is left, or the database cannot be written.
        """
        trial = create_trial(
            values=self.values(candidate),
            params=self.space.parameters(point_of(candidate)),
            distributions=self.space.distributions,
            user_attrs={"cut": candidate.cut_name, CANDIDATE: candidate.model_dump(mode="json")},
        )
        for check in checks(candidate, budgets):
            trial.set_constraint(check.name, check.excess)
        trial.datetime_start = started
        with storage_errors(self.path):
            self._study.add_trial(trial)


@contextlib.contextmanager
def open_store(
    folder: Path,
    fingerprint: Mapping[str, str],
    space: Space,
    *,
    resume: bool,
    name: str | None = None,
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES,
) -> Iterator[TrialStore]:
    """The study to search in, under the folder's lock: a new one, with `resume` the latest that fits, or the named one.

    Args:
        folder: holds `study.db`, whose studies are called search-1, search-2, ...; none is ever deleted.
        fingerprint: everything that the trials' figures depend on, by the name a user knows it by.
        space: the search space.
        resume: continue the latest study with this fingerprint. Where there is none, one is begun.
        objectives: what the study shows and is searched by; part of what a resumed study must agree in.

    Raises:
        MismatchError: the study of that `name` is of another fingerprint; the difference is named.
        CollabplanError: the lock is held, no space is left, or the database cannot be read.
    """
    path = folder / "study.db"
    with locked(folder), quiet_optuna():
        with storage_errors(path):
            storage = _open_storage(path)
        try:
            with storage_errors(path):
                study = pick_study(storage, fingerprint, path, resume=resume, name=name, objectives=objectives)
                _fail_stale(study)
            yield TrialStore(path, study.study_name, space, objectives, differences(storage, study), study)
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna logs warnings only while this lasts."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _open_storage(path: Path) -> optuna.storages.RDBStorage:
    if not path.exists():
        fresh = path.with_name(f".{path.name}.new")
        for leftover in (fresh, fresh.with_name(f"{fresh.name}-journal")):
            leftover.unlink(missing_ok=True)
        make_file(fresh)
        made = optuna.storages.RDBStorage(_url(fresh))
        made.remove_session()
        made.engine.dispose()
        os.replace(fresh, path)
        return optuna.storages.RDBStorage(_url(path), skip_compatibility_check=True, skip_table_creation=True)
    return optuna.storages.RDBStorage(_url(path))


def _url(path: Path) -> str:
    return str(sqlalchemy.engine.URL.create("sqlite", database=str(path.resolve())))


def pick_study(
    storage: optuna.storages.RDBStorage,
    fingerprint: Mapping[str, str],
    path: Path | str,
    *,
    resume: bool,
    name: str | None = None,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
) -> optuna.Study:
    """A new study, with `resume` the latest of that fingerprint if there is one, or the one of that `name`.

    Raises:
        MismatchError: the figures of the named study are for something else.
    """
    ours = sorted(
        (study for study in storage.get_all_studies() if _number(study.study_name) > 0),
        key=lambda study: _number(study.study_name),
        reverse=True,
    )
    wanted = {**fingerprint, _MARK: ", ".join(objectives), _VERSION_MARK: str(SCHEMA_VERSION)}
    known = {study.study_name: _marks(study.user_attrs) for study in ours}
    if name is not None:
        if name not in known:
            raise CollabplanError(f"{path} has no study {name!r}; there are: {', '.join(known) or 'none'}")
        if known[name] != wanted:
            raise MismatchError(_refusal(path, name, known[name] or {}, wanted))
        return optuna.load_study(study_name=name, storage=storage)
    if (
        ours
        and known[ours[0].study_name] is None
        and _directions(ours[0].directions) == [FIGURES[each][1] for each in objectives]
    ):
        return _begin(storage, ours[0].study_name, wanted, objectives)  # killed between creating and marking it
    same = next((each for each, found in known.items() if resume and found == wanted), None)
    if same is not None:
        return optuna.load_study(study_name=same, storage=storage)
    return _begin(storage, f"{_PREFIX}{_number(ours[0].study_name) + 1 if ours else 1}", wanted, objectives)


def differences(storage: optuna.storages.RDBStorage, study: optuna.Study) -> str:
    """How a study without trials differs from the latest one beside it; "" if it has trials or stands alone."""
    others = [each for each in storage.get_all_studies() if _number(each.study_name) > 0]
    others = [each for each in others if each.study_name != study.study_name and _marks(each.user_attrs)]
    if not others or study.get_trials(deepcopy=False):
        return ""
    latest = max(others, key=lambda each: _number(each.study_name))
    found, ours = _marks(latest.user_attrs) or {}, _marks(study.user_attrs) or {}
    if found.get(_VERSION_MARK) != ours.get(_VERSION_MARK):
        return f"{latest.study_name} was made by another version of collabplan"
    parts = _parts(found, ours)
    return f"{latest.study_name} is for something else: {'; '.join(parts)}" if parts else ""


def _marks(attributes: Mapping[str, Any]) -> dict[str, str] | None:
    """What a study was marked with; None where it was not marked yet."""
    found = attributes.get(_FINGERPRINT)
    return None if found is None else dict(found)


def _directions(found: Sequence[optuna.study.StudyDirection]) -> list[str]:
    return [direction.name.lower() for direction in found]


def _begin(
    storage: optuna.storages.RDBStorage, name: str, marks: Mapping[str, str], objectives: Sequence[Objective]
) -> optuna.Study:
    shown = [FIGURES[objective] for objective in objectives]
    directions = [direction for _, direction, _ in shown]
    study = optuna.create_study(study_name=name, storage=storage, directions=directions, load_if_exists=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([metric for metric, _, _ in shown])
    study.set_user_attr(_FINGERPRINT, dict(marks))
    return study


def _number(name: str) -> int:
    tail = name.removeprefix(_PREFIX)
    return int(tail) if name.startswith(_PREFIX) and tail.isdecimal() else 0


def _refusal(path: Path | str, name: str, found: Mapping[str, Any], expected: Mapping[str, str]) -> str:
    """Why a study cannot be gone on with: another version made it, or its figures are for something else."""
    version = found.get(_VERSION_MARK, "1")
    if version != expected[_VERSION_MARK]:
        return other_version("study", f"{name} in {path}", version, SCHEMA_VERSION)
    return _difference(path, name, found, expected)


def _parts(found: Mapping[str, Any], expected: Mapping[str, str]) -> list[str]:
    """What differs between two fingerprints, one phrase each."""
    names = [key for key in {**found, **expected} if found.get(key) != expected.get(key)]
    apart = (each for key in names for each in _entries(key, found.get(key), expected.get(key)))
    return [f"{key} was {_short(was)}, now {_short(now)}" for key, was, now in apart]


def _difference(path: Path | str, name: str, found: Mapping[str, Any], expected: Mapping[str, str]) -> str:
    return (
        f"cannot go on with study {name} in {path}, its figures are for something else: "
        f"{'; '.join(_parts(found, expected))}. "
        "Undo the change, or run without --reuse"
    )


def _entries(key: str, was: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """What differs, entry by entry where both are JSON objects."""
    try:
        ours, theirs = json.loads(was), json.loads(now)
    except (TypeError, ValueError):
        ours = theirs = None
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return [(key, was, now)]
    return [
        (f"{key}: {each}", ours.get(each), theirs.get(each))
        for each in {**ours, **theirs}
        if ours.get(each) != theirs.get(each)
    ]


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) > 48 else text


def _fail_stale(study: optuna.Study) -> None:
    """Under our lock no trial can be running: whoever left one is gone."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


@contextlib.contextmanager
def storage_errors(path: Path | str) -> Iterator[None]:
    """Turns what SQLite, SQLAlchemy, Optuna and the file system raise into one clear sentence."""
    try:
        yield
    except CollabplanError:
        raise
    except OSError as error:
        raise CollabplanError(write_failure(Path(path), error)) from error
    except _STORAGE_FAILURES as error:
        raise CollabplanError(_storage_message(path, error)) from error


def _storage_message(path: Path | str, error: BaseException) -> str:
    causes: list[str] = []
    at: BaseException | None = error
    while at is not None:
        causes.append(str(at))
        at = at.__cause__ or at.__context__
    text = " ".join(causes).lower()
    if "disk is full" in text or "no space left" in text or "disk i/o error" in text:
        return (
            f"no space left on the device for {path}; free some space and run the same command again "
            "(every completed trial is kept)"
        )
    if "readonly" in text or "unable to open" in text:
        return f"cannot write {path}; make it and its folder writable, or work in another folder"
    if "database is locked" in text:
        return f"{path} is locked by another program; close it (a database browser?) and run the same command again"
    if isinstance(path, str):
        first = next((line for cause in causes for line in cause.splitlines() if line), type(error).__name__)
        return f"the database {path} cannot be used ({first}); check that it runs and that the URL is right"
    first = causes[-1].splitlines()[0] if causes[-1] else type(error).__name__
    return f"study {path} cannot be read ({first}); move it away to start anew, its trials are lost to this program"
