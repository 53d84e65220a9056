"""The whole way from a problem to a plan: rule out by cost, search, choose, confirm, compare with baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..attacks.audit_target import why_unattackable
from ..attacks.time_limit import Deadline, TimeUp, check_time, until
from ..records import BudgetError, Budgets, Candidate, CollabplanError, Plan
from .anytime import OnPlan, Planning
from .audits import Audits
from .baselines import Role, baseline_cuts
from .budgets import cost_checks, judged
from .choose import Choice, Excluded, described
from .evaluator import Evaluator
from .folder_lock import locked
from .front import Values, hypervolume
from .measured import Measured
from .pace import Pace, about
from .plan_record import ChosenPlan, plan_of, with_tensors
from .problem import Problem, RuledOut, SearchOptions, SearchResult, fingerprint
from .search import OnProgress, Searched, Walk, search_together
from .shared_study import SharedStore, open_shared_store
from .space import Point, point_of
from .study import TrialStore, open_store
from .study_setup import setup_of, steering_budgets

FIRST_PASSES = 5
"""About how often the first candidate, measured on both splits, runs the whole model on all samples."""


def optimize(
    problem: Problem,
    options: SearchOptions,
    folder: Path,
    on_progress: OnProgress | None = None,
    *,
    on_plan: OnPlan | None = None,
    deadline: Deadline | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> SearchResult:
    """Search cut x dropout for the plan that leaks least within the budgets.

    With `on_plan` or a deadline, estimates come first, then the attacks that can change the choice, the cheapest first:
    at any moment there is a plan.

    Args:
        problem: model, profiles, link, data and budgets.
        options: how to search.
        folder: holds the study and its lock (`.collabplan`); made when absent.
        on_progress: called after every measured candidate, and while one takes long.
        on_plan: called with every better supported plan, and with None if it has fallen and no other is left.
        deadline: when to end with what is known by then; None: when everything was run.
        say: hears beforehand where the search begins.

    Returns:
        The outcome; its `plan` is None, and `nearest_miss` a sentence, where nothing meets the budgets.

    Raises:
        MismatchError: the profiles, or the study that the options name, are of something else.
        CollabplanError: another process searches in `folder`, no space is left, or a figure cannot be measured.
    """
    deadline = deadline or Deadline()
    evaluator = Evaluator(problem, options, folder)
    if not evaluator.space.points:
        raise CollabplanError(
            "no cut of this model can be searched: what crosses cannot be divided into samples; see the profile's table"
        )
    allowed, excluded = _divide(evaluator, problem.budgets)
    with until(deadline):
        try:
            marks = fingerprint(problem, options, evaluator.leakage_samples, evaluator.metric)
        except TimeUp:
            raise BudgetError(f"no plan within the time limit: {_too_short(problem)}") from None
    tell = _telling(evaluator, _timed(on_progress, deadline, alone=options.audit is None))
    audits, notes = _audits(evaluator, folder, tell)
    with _store(evaluator, folder, marks) as store, until(deadline):
        say(_beginning(store))
        pace = Pace(folder / "pace", problem.traced.identity.structure_hash, deadline.clock)
        measured = Measured(evaluator, store)
        planning = Planning(evaluator, measured, audits, excluded, store.name, deadline, on_plan, tell, say, pace)
        try:
            found = planning.search(store, _walk(evaluator, allowed))
            known = {point_of(candidate) for candidate in planning.candidates}
            planning.decide(*_baselines(evaluator, measured, known, tell))
        finally:
            pace.keep()
    choice, made, front = planning.choice, planning.made, planning.front
    return SearchResult(
        plan=None if made is None else made.plan,
        chosen=choice.searched,
        front=front,
        baselines=planning.baselines,
        nearest_miss=_too_short(problem) if planning.timed_out and not planning.candidates else choice.nearest_miss,
        trials=len(found.candidates),
        reused=found.reused,
        space=len(allowed),
        ruled_out=RuledOut(len(excluded), _cuts_without(allowed, excluded)),
        confirm_tries=planning.tries,
        hypervolume=_hypervolume(evaluator, front),
        study=store.name,
        tuned_weights=None if made is None else made.tuned_weights,
        projection=None if made is None else made.projection,
        audits=0 if audits is None else audits.made,
        notes=(
            *evaluator.notes,
            *sign_question(problem, choice.candidates),
            *(notes if audits is None else audits.notes),
            *_unsought(options),
        ),
        objectives=options.objectives,
        power=problem.power,
        timed_out=planning.timed_out,
        candidates=choice.candidates or planning.candidates,
    )


def _beginning(store: TrialStore | SharedStore) -> str:
    """Whether a search goes on or begins, and why."""
    known = len(store.completed())
    if known:
        return f"going on with {store.name}: {known} candidates were measured before (--fresh begins anew)"
    return f"a new search begins, {store.name}" + (f"; {store.differs}" if store.differs else "")


def sign_question(problem: Problem, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """The question whether higher is better in the target's own metric, where defenses seem to do the model good.

    That a few of many do, by chance or since a little noise is harmless, tells nothing; nor does a tuned cloud half.
    """
    defended = [candidate for candidate in candidates if not candidate.tuned]
    better = [candidate for candidate in defended if candidate.accuracy.drop.high < 0]
    worse = [candidate for candidate in defended if candidate.accuracy.drop.low > 0]
    if problem.evaluate is None or len(better) <= max(len(worse), len(defended) / 20):
        return ()
    most = min(better, key=lambda candidate: candidate.accuracy.drop.value)
    found = most.accuracy
    return (
        f"{found.metric} scores better with a defense than without at {len(better)} of {len(defended)} candidates "
        f"({found.accuracy.value:.3f} against {found.undefended:.3f}, {described(most)}): is higher better in "
        "`evaluate`? Return a loss with its sign changed",
    )


def plan_for(
    problem: Problem,
    options: SearchOptions,
    found: Plan,
    candidate: Candidate,
    folder: Path,
    on_progress: OnProgress | None = None,
) -> ChosenPlan:
    """The plan of another candidate that the search behind `found` measured.

    Args:
        problem: as it was searched; its budgets are held against the candidate.
        options: as it was searched; `audit` says how the candidate is attacked.
        found: whose front, baselines and study are kept.
        folder: where finished attacks lie.

    Raises:
        BudgetError: the candidate misses a budget on the confirm split.
        CollabplanError: a figure cannot be measured.
    """
    evaluator = Evaluator(problem, options, folder, named=candidate)
    if candidate.cut_id not in evaluator.cuts:
        raise CollabplanError(f"{candidate.cut_name} is no cut that was profiled here; profile with its --max-crossing")
    audits, _ = _audits(evaluator, folder, _telling(evaluator, on_progress))
    confirmed = evaluator.confirm(candidate)
    if audits is not None:
        confirmed = audits.hardest(confirmed)
    confirmed = judged(confirmed, problem.budgets)
    if not confirmed.meets_budgets:
        raise BudgetError(f"{described(confirmed)} misses on the confirm split: {', '.join(confirmed.violations)}")
    choice = Choice(candidate, confirmed, 1)
    made = plan_of(evaluator, choice, found.front, found.baselines, found.trials, found.study)
    assert made is not None
    return with_tensors(evaluator, made)


def _too_short(problem: Problem) -> str:
    """That no candidate was measured, and what would suffice."""
    samples = len(problem.search) + len(problem.confirm)
    run_s = samples * problem.edge_profile.whole.p50_ms / problem.edge_profile.batch / 1000
    return (
        f"no candidate was measured; the first takes {about(FIRST_PASSES * run_s)} on an idle machine, by the profile, "
        "beside loading: give as much more by --time-limit, or fewer samples"
    )


def _timed(on_progress: OnProgress | None, deadline: Deadline, *, alone: bool) -> OnProgress | None:
    """`on_progress` at the share of the time that is over. With estimates `alone`, all may be measured before."""
    if on_progress is None or deadline.left == math.inf:
        return on_progress
    began, left = deadline.clock(), deadline.left
    told = on_progress

    def tell(what: str, done: float) -> None:
        over = min((deadline.clock() - began) / left, 1.0) if left else 1.0
        told(what, max(over, done if alone else 0.0))

    return tell


def _telling(evaluator: Evaluator, on_progress: OnProgress | None) -> OnProgress:
    """`on_progress`, which hears of what takes long within a candidate too, at the share that was done before it."""
    last = 0.0

    def tell(what: str, done: float) -> None:
        nonlocal last
        last = done
        if on_progress is not None:
            on_progress(what, done)

    evaluator.tell = lambda what: tell(what, last)
    return tell


def _audits(evaluator: Evaluator, folder: Path, tell: OnProgress) -> tuple[Audits | None, list[str]]:
    """The audits of this search, None where none are asked for or possible; what there is to say about that."""
    options = evaluator.options.audit
    if options is None:
        return None, []
    if (why := why_unattackable(evaluator.problem.traced)) is not None:
        return None, [f"NOT AUDITED: {why}"]
    return Audits(evaluator, options, folder / "audits", tell), []


@contextmanager
def _store(evaluator: Evaluator, folder: Path, marks: Mapping[str, str]) -> Iterator[TrialStore | SharedStore]:
    """The study, in the folder or in a database that workers may join; the folder is locked in either case."""
    problem, options = evaluator.problem, evaluator.options
    if options.storage is None:
        with open_store(
            folder, marks, evaluator.space, resume=not options.fresh, name=options.study, objectives=options.objectives
        ) as store:
            yield store
        return
    with (
        locked(folder),
        open_shared_store(
            options.storage,
            marks,
            evaluator.space,
            resume=not options.fresh,
            name=options.study,
            objectives=options.objectives,
        ) as shared,
    ):
        shared.set_up(setup_of(problem, options).model_dump_json())
        yield shared


def _walk(evaluator: Evaluator, allowed: Sequence[Point]) -> Walk:
    options = evaluator.options
    budgets = steering_budgets(evaluator.problem, options)
    return Walk(allowed, evaluator.evaluate, budgets, options.seed, options.trials, options.sampler, evaluator.reprice)


def join_search(
    problem: Problem, options: SearchOptions, name: str, folder: Path, on_progress: OnProgress | None = None
) -> Searched:
    """Measure candidates of the study `name` in `options.storage` until it is complete, beside other workers.

    Args:
        problem: as the study's setup says, with this machine's copy of model and data.
        options: by `options_of`.
        name: of the study.
        folder: holds what this machine keeps for itself.

    Raises:
        MismatchError: model, weights or data are not those of the study.
        CollabplanError: the database cannot be used, or a figure cannot be measured.
    """
    if options.storage is None:
        raise CollabplanError("a worker needs the database of the study")
    evaluator = Evaluator(problem, options, folder)
    allowed, _ = _divide(evaluator, problem.budgets)
    marks = fingerprint(problem, options, evaluator.leakage_samples, evaluator.metric)
    with open_shared_store(
        options.storage, marks, evaluator.space, resume=True, name=name, objectives=options.objectives
    ) as store:
        return search_together(store, _walk(evaluator, allowed), _telling(evaluator, on_progress))


def _unsought(options: SearchOptions) -> tuple[str, ...]:
    """What the user should know where the front does not look at what the plan is chosen by."""
    if "leakage" in options.objectives:
        return ()
    return (
        "leakage is no objective: neither the search nor its audits look for candidates that leak less; the plan is "
        "the one that leaks least of those found within the budgets",
    )


def _divide(evaluator: Evaluator, budgets: Budgets) -> tuple[list[Point], list[Excluded]]:
    """The points whose costs keep within the budgets, the deepest cut first, and the others; nothing is run.

    Deep cuts leak least. If the time does not suffice for all points, those that are left out would hardly have won.
    """
    allowed, excluded = [], []
    for point in sorted(evaluator.space.points, key=lambda point: -evaluator.cuts[point.cut_id].depth):
        if _affordable(evaluator, point, budgets):
            allowed.append(point)
        else:
            excluded.append(Excluded(point, evaluator.cuts[point.cut_id].name, evaluator.costs(point)))
    return allowed, excluded


def _affordable(evaluator: Evaluator, point: Point, budgets: Budgets) -> bool:
    return all(check.holds for check in cost_checks(evaluator.costs(point), budgets))


def _cuts_without(allowed: Sequence[Point], excluded: Sequence[Excluded]) -> int:
    """Cuts that are ruled out altogether."""
    return len({item.point.cut_id for item in excluded} - {point.cut_id for point in allowed})


def _baselines(
    evaluator: Evaluator, measured: Measured, known: Container[Point], tell: OnProgress
) -> tuple[Mapping[Role, Point], list[Candidate], list[Candidate]]:
    """The baseline cuts undefended but quantized, which are measured whether the search visited them or not.

    Those that the deadline leaves no time for are left out.

    Args:
        known: what was measured on the search split already.

    Returns:
        The baselines' points by role; those not known that costs leave, on the search split; all on the confirm split.
    """
    undefended = evaluator.space.undefended
    cuts = baseline_cuts(
        evaluator.problem.cuts,
        lambda cut: evaluator.costs(undefended(cut.id)).latency,
        None if evaluator.extra is None else evaluator.extra.cut,
    )
    roles: dict[Role, Point] = {}
    searched: list[Candidate] = []
    confirmed: dict[Point, Candidate] = {}
    for done, (role, cut) in enumerate(cuts.items(), start=1):
        point = undefended(cut.id)
        if point not in confirmed:
            try:
                check_time()
                row = measured.once(point, "confirm")
                if point not in known and _affordable(evaluator, point, evaluator.problem.budgets):
                    searched.append(measured.once(point))
            except TimeUp:
                continue
            confirmed[point] = row
        roles[role] = point
        tell(f"baseline {role}: {cut.name}", done / len(cuts))
    return roles, searched, list(confirmed.values())


def _hypervolume(evaluator: Evaluator, front: Sequence[Candidate]) -> float:
    """See `SearchResult.hypervolume`."""
    names = evaluator.options.objectives
    costs = [evaluator.costs(point) for point in evaluator.space.points]
    most = {
        "latency": max(each.latency.p95_ms for each in costs),
        "energy": max(each.edge_energy_mj or 0.0 for each in costs),
        "payload": max(each.payload_bytes for each in costs),
    }

    def inside(candidate: Candidate) -> Values:
        shares = {
            "accuracy": 1 - candidate.accuracy.accuracy.value,
            "leakage": candidate.index.high,
            "latency": candidate.latency.p95_ms / max(most["latency"], 1e-9),
            "energy": (candidate.edge_energy_mj or 0.0) / max(most["energy"], 1e-9),
            "payload": candidate.payload_bytes / max(most["payload"], 1),
        }
        return tuple(max(shares[name], 0.0) for name in names)

    return hypervolume([inside(candidate) for candidate in front], (1.0,) * len(names))
