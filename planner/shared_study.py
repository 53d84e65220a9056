"""A study that several machines search at once: Optuna in PostgreSQL, each worker claims the points that it measures.

A claim is a RUNNING trial with a heartbeat. Two workers that claim the same point see each other's trial, and the later
one gives way. A worker that dies stops beating: after the grace period anybody fails its trial, and the point is free
again. A worker that was only slow finds its trial failed when it comes to finish it, and its result is thrown away: no
point is ever counted twice.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import optuna
import sqlalchemy
from optuna.trial import Trial, TrialState, create_trial

from ..records import DEFAULT_OBJECTIVES, Budgets, Candidate, CollabplanError, Objective
from ..records.extras import missing_package
from .budgets import checks
from .space import Point, Space
from .study import CANDIDATE, StoredStudy, differences, pick_study, quiet_optuna, storage_errors

HEARTBEAT_S, GRACE_S = 20, 120
_CLAIM, _POINT, _BEATS, _SETUP = "collabplan.claim", "collabplan.point", "collabplan.beats", "collabplan.setup"
_LIVE = (TrialState.RUNNING, TrialState.COMPLETE)


@dataclass(frozen=True, slots=True)
class Claim:
    """A point that this worker measures: the trial's number and id."""

    point: Point
    number: int
    trial_id: int


@dataclass
class SharedStore(StoredStudy):
    """The trials of one study, of all its workers. Made by `open_shared_store`."""

    _storage: optuna.storages.RDBStorage
    _heartbeat_s: int = HEARTBEAT_S
    _grace_s: int = GRACE_S

    def taken(self) -> set[str]:
        """Keys of the points that somebody measures at this moment."""
        with storage_errors(self.path):
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {trial.user_attrs[_POINT] for trial in running if _POINT in trial.user_attrs}

    def release_dead(self) -> None:
        """Fail the trials of workers that have stopped beating, or that never came to beat."""
        late = datetime.now() - timedelta(seconds=self._grace_s)
        with storage_errors(self.path), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self._study)
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                began = trial.datetime_start
                if _BEATS not in trial.user_attrs and began is not None and began < late:
                    self._study.tell(trial.number, state=TrialState.FAIL)

    def claim(self, point: Point) -> Claim | None:
        """Claim a point; None where somebody else measures it, or has."""
        mark = uuid.uuid4().hex
        asked = create_trial(
            state=TrialState.RUNNING,
            params=self.space.parameters(point),
            distributions=self.space.distributions,
            user_attrs={_POINT: point.key, _CLAIM: mark},
        )
        asked.datetime_start = datetime.now()
        with storage_errors(self.path):
            self._study.add_trial(asked)
            live = self._study.get_trials(deepcopy=False, states=_LIVE)
            rivals = [trial for trial in live if trial.user_attrs.get(_POINT) == point.key]
            own = next(trial for trial in rivals if trial.user_attrs.get(_CLAIM) == mark)
            self._storage.record_heartbeat(own._trial_id)
            Trial(self._study, own._trial_id).set_user_attr(_BEATS, True)
            if min(trial.number for trial in rivals) < own.number:
                self._study.tell(own.number, state=TrialState.FAIL)
                return None
        return Claim(point, own.number, own._trial_id)

    @contextlib.contextmanager
    def beating(self, claim: Claim) -> Iterator[None]:
        """Tells the others, while this lasts, that the worker lives. Where the work fails, the claim is given up."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(self._heartbeat_s):
                with contextlib.suppress(Exception):  # a database that is away for a moment must not end the work
                    self._storage.record_heartbeat(claim.trial_id)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):
                self._study.tell(claim.number, state=TrialState.FAIL)
            raise
        finally:
            stop.set()
            thread.join()

    def finish(self, claim: Claim, candidate: Candidate, budgets: Budgets) -> bool:
        """Keep a measured candidate; False where the claim had been taken for dead: then it counts for nothing."""
        trial = Trial(self._study, claim.trial_id)
        with storage_errors(self.path):
            try:
                trial.set_user_attr("cut", candidate.cut_name)
                trial.set_user_attr(CANDIDATE, candidate.model_dump(mode="json"))
                for check in checks(candidate, budgets):
                    trial.set_constraint(check.name, check.excess)
                self._study.tell(claim.number, self.values(candidate))
            except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
                return False
        return True

    def set_up(self, setup: str) -> None:
        """Keep what a worker must know to join, as JSON; see `read_setup`."""
        with storage_errors(self.path):
            self._study.set_user_attr(_SETUP, setup)


@contextlib.contextmanager
def open_shared_store(
    url: str,
    fingerprint: Mapping[str, str],
    space: Space,
    *,
    resume: bool,
    name: str | None = None,
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES,
    heartbeat_s: int = HEARTBEAT_S,
    grace_s: int = GRACE_S,
) -> Iterator[SharedStore]:
    """The study to search in: with `resume` the latest that fits if there is one, else a new one, or that `name`.

    Args:
        url: of SQLAlchemy, `postgresql+psycopg://user:password@host/database`.
        fingerprint: everything that the trials' figures depend on, by the name a user knows it by.
        objectives: what the study shows and is searched by; part of what must agree.
        heartbeat_s: between two signs of life of a worker.
        grace_s: without one, until its trial is failed.

    Raises:
        MismatchError: the study's figures are for something else; the difference is named.
        CollabplanError: the database cannot be reached, or has no such study.
    """
    place = safe_url(url)
    with quiet_optuna():
        with storage_errors(place):
            storage = connect(url, heartbeat_s, grace_s)
        try:
            with storage_errors(place):
                study = pick_study(storage, fingerprint, place, resume=resume, name=name, objectives=objectives)
            apart = differences(storage, study)
            yield SharedStore(place, study.study_name, space, objectives, apart, study, storage, heartbeat_s, grace_s)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def read_setup(url: str, name: str) -> str:
    """What a worker must know to join a study, as JSON.

    Raises:
        CollabplanError: the database cannot be reached, or has no such study that `optimize --storage` made.
    """
    place = safe_url(url)
    with quiet_optuna(), storage_errors(place):
        storage = connect(url, HEARTBEAT_S, GRACE_S)
        try:
            known = {study.study_name: study.user_attrs.get(_SETUP) for study in storage.get_all_studies()}
        finally:
            storage.remove_session()
            storage.engine.dispose()
    found = known.get(name)
    if found is None:
        there = ", ".join(each for each, setup in known.items() if setup is not None) or "none"
        raise CollabplanError(f"{place} has no study {name!r} that `optimize --storage` made; there are: {there}")
    return str(found)


def connect(url: str, heartbeat_s: int, grace_s: int) -> optuna.storages.RDBStorage:
    """The storage with its tables, which are made where there are none. Several workers may try that at once.

    Raises:
        CollabplanError: the driver is not installed, or the URL cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            with contextlib.suppress(sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
                return optuna.storages.RDBStorage(url, heartbeat_interval=heartbeat_s, grace_period=grace_s)
            # Somebody else was laying out the tables: now they are there.
            return optuna.storages.RDBStorage(url, heartbeat_interval=heartbeat_s, grace_period=grace_s)
    except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
        cause = error.__cause__ or error.__context__  # Optuna wraps the driver's own
        if isinstance(cause, ModuleNotFoundError) and (missing := missing_package(cause)) is not None:
            raise missing from error
        raise CollabplanError(
            f"the driver for {safe_url(url)} is not installed ({error}); for PostgreSQL: "
            "pip install 'collabplan[postgresql]' and a URL that begins with postgresql+psycopg://"
        ) from error


def safe_url(url: str) -> str:
    """The URL without its password.

    Raises:
        CollabplanError: it is no URL.
    """
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        raise CollabplanError(
            "--storage is no database URL; it looks like postgresql+psycopg://user:password@host/database"
        ) from None
