"""A study of one model: profile it, measure its leakage, search a plan, attack it and write it out.

    import collabplan

    study = collabplan.open("model.py")
    study.profile(); study.leakage(cuts="all"); plan = study.optimize(budget_ms=50); study.attack(plan)
    plan.split("halves")

Every method takes the options of its command as keyword arguments (see `workflows.options`): `--max-leakage 0.3` is
`max_leakage=0.3`. What is finished is kept in `.collabplan`, and the command line finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from ..defenses import CustomStage
from ..planner import SearchResult
from ..planner.plan_files import save_plan
from ..records import BudgetError, CollabplanError, Plan, Returns
from ..records.atomic import make_folder
from ..report import Report, plot_front, plot_latency, plot_leakage, plot_reconstructions, shown_galleries
from ..targets.input_options import InputOptions
from ..targets.target import Target as LoadedTarget
from ..targets.target import target_in_memory
from .attack import attack
from .bundle import Bundled, bundle_plan
from .explain import explanation
from .export import USUAL_TOOLS, Exported, Tool, gather_figures, write_exports
from .front import front_rows
from .leakage import measure_leakage
from .named_options import options_from
from .notebook import usual_reporter
from .optimize import how_much, no_plan, plan_notes, search_plan
from .options import (
    AttackOptions,
    CloudOptions,
    LeakageOptions,
    OptimizeOptions,
    PresetName,
    ProfileOptions,
    VerifyOptions,
)
from .plan_keeping import unproven
from .planned import LoadedPlan, open_plan, planned_cut
from .presets import with_preset
from .profile import profile_session
from .report import galleries_of, report_plan, write_report
from .reporter import Reporter
from .results import AttackResult, LeakageResult, MeasuredResult, ProfileResult, Result, Row, candidate_row
from .session import Session, open_session
from .split import WrittenHalves, split_plan
from .verify import verify_plan
from .workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Study:
    """One model, and everything that is done with it. Make one with `collabplan.open` or `collabplan.Target`.

    Args:
        target: `path.py`, `path.py:NAME`, `package.module:NAME`, or a loaded target.
        inputs: takes the place of what the file says of its inputs.
        workspace: folder for profiles, studies and finished attacks.
        reporter: hears of progress; default: the notebook, or the logger `collabplan` elsewhere.

    Attributes:
        last_search: the front and the baselines of the last `optimize`, whether or not it found a plan.
    """

    def __init__(
        self,
        target: str | LoadedTarget,
        *,
        inputs: InputOptions | None = None,
        workspace: str | Path | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self._spec, self._inputs = target, inputs or InputOptions()
        self.workspace = Workspace.here() if workspace is None else Workspace(Path(workspace))
        self.reporter = reporter or usual_reporter()
        self.last_search: SearchResult | None = None

    def __repr__(self) -> str:
        spec = self._spec if isinstance(self._spec, str) else self._spec.identity.spec
        return f"<Study of {spec}>"

    @cached_property
    def session(self) -> Session:
        """The loaded target and the graph of its model; the first use runs the target's code.

        Raises:
            TargetError: the target cannot be loaded.
            TraceError: the model cannot be traced.
        """
        return open_session(self._spec, self._inputs, self.reporter)

    def profile(self, **options: Any) -> ProfileResult:
        """Measure the model on this machine, node by node and cut by cut. The workspace keeps the profile.

        Args:
            options: of `ProfileOptions`: device, batch, threads, seconds...

        Raises:
            CollabplanError: an option that is not possible, or a device that is absent.
        """
        made, _ = profile_session(self.session, options_from(ProfileOptions, options), self.workspace, self.reporter)
        return ProfileResult(made)

    def leakage(self, **options: Any) -> LeakageResult:
        """Estimate what each cut tells about the private input. Finished cuts are kept.

        Args:
            options: of `LeakageOptions`: cuts, estimators, samples...

        Raises:
            CollabplanError: an option that is not possible, an unknown cut, or too little data.
        """
        chosen = options_from(LeakageOptions, options)
        return LeakageResult(measure_leakage(self._with_data(), self._inputs, chosen, self.workspace, self.reporter))

    def optimize(self, budget_ms: float, *, preset: PresetName = "standard", **options: Any) -> PlanResult:
        """Search where to cut and how to defend, within budgets.

        Args:
            budget_ms: longest predicted latency of a request, 95th percentile, in ms.
            preset: how much evidence: `look`, `standard` or `signoff`; an option that is given overrides it.
            options: of `OptimizeOptions`: max_accuracy_drop, max_leakage, bandwidth, trials, audit... `defense` takes
                texts, records, and stages of your own.

        Returns:
            The plan that leaks least within the budgets.

        Raises:
            BudgetError: no plan meets the budgets; `last_search` then has the front.
            CollabplanError: an option that is not possible, or what the target, profiles or data lack.
        """
        chosen = with_preset(options_from(OptimizeOptions, {"budget_ms": budget_ms, **options}), preset, options)
        found = search_plan(self._with_data(), self._inputs, chosen, self.workspace, self.reporter)
        self.last_search = found
        if found.plan is None:
            raise BudgetError(no_plan(found))
        return PlanResult(self, self._kept(found.plan, found), found)

    def open_plan(self, file: str | Path) -> PlanResult:
        """A plan that was written before, for this model.

        Raises:
            RecordError: the file is not a plan.
            MismatchError: it is another model's.
        """
        planned = open_plan(Path(file), self.session, self.reporter)
        return PlanResult(self, planned)

    def attack(self, plan: PlanResult | None = None, **options: Any) -> AttackResult:
        """Run attacks on a plan, or without one on each cut and defense. Finished attacks are kept.

        Args:
            plan: what is attacked; None: the cuts and defenses of `options`.
            options: of `AttackOptions`: attacks, effort, cuts, seed...

        Raises:
            CollabplanError: an option that is not possible, too little data, or inputs that no attack is built for.
        """
        chosen = options_from(AttackOptions, options)
        subject = self._with_data() if plan is None else plan.planned
        found = attack(subject, self._inputs, chosen, self.workspace, self.reporter)
        return AttackResult(found.report, found.missed)

    def verify(self, plan: PlanResult, cloud: str | None = None, **options: Any) -> MeasuredResult:
        """Run the two halves of a plan and hold its predictions to what is measured.

        Args:
            plan: what is run.
            cloud: host and port of a server that runs its bundle; None: one on this machine, behind a shaped link.
            options: of `VerifyOptions` and `CloudOptions`: requests, link_shape, ca...

        Raises:
            CollabplanError: an option that is not possible, or no server answers.
        """
        tls = {name: options.pop(name) for name in CloudOptions.__dataclass_fields__ if name in options}
        chosen, secure = options_from(VerifyOptions, options), options_from(CloudOptions, tls)
        self._with_data()
        return MeasuredResult(verify_plan(plan.planned, chosen, self.reporter, cloud, secure))

    def report(self, plan: PlanResult, file: str | Path = "report.html", *, pictures: bool = True) -> Path:
        """Write a page that shows a plan, what it costs and leaks, and how sure that is.

        Args:
            plan: what is shown, with the attacks that were run in this workspace.
            file: one HTML file that loads nothing.
            pictures: False leaves private validation images out.

        Raises:
            CollabplanError: the file holds something else, or cannot be written.
        """
        write_report(self._report(plan, pictures), Path(file))
        return Path(file)

    def export(
        self,
        folder: str | Path,
        plan: PlanResult | None = None,
        *,
        leakage: LeakageResult | None = None,
        formats: Sequence[Tool] = USUAL_TOOLS,
        force: bool = False,
    ) -> Exported:
        """Write latency by node and leakage by cut for Model Explorer, Perfetto and Netron.

        Args:
            folder: for the files.
            plan: whose candidates' leakage and predicted request are shown; None: the last profile alone.
            leakage: estimates that are shown too.
            formats: `model-explorer`, `perfetto`, and `onnx` for Netron.
            force: replace what lies there.

        Raises:
            CollabplanError: nothing was profiled here, the folder holds something, or torch cannot export the model.
        """
        chosen = None if plan is None else plan.record
        report = None if leakage is None else leakage.record
        figures = gather_figures(self.workspace, plan=chosen, leakage=report)
        traced = self.session.traced
        figures.profile.model.require_same(traced.identity, record="the last profile here", weights=False)
        cut = None if plan is None else plan.planned.cut
        return write_exports(figures, Path(folder), formats, lambda: (traced, cut), self.reporter, force=force)

    def plot_front(self, plan: PlanResult) -> Figure:
        """The front, the baselines and the plan: leakage against accuracy and latency. See `report.plot_front`."""
        return plot_front(plan.record)

    def plot_leakage(self, found: PlanResult | LeakageResult | AttackResult) -> Figure:
        """The leakage index by cut, one line for each defense. See `report.plot_leakage`."""
        return plot_leakage(found.record)

    def plot_latency(self, plan: PlanResult) -> Figure:
        """Where a request's time goes. See `report.plot_latency`."""
        return plot_latency(plan.record)

    def plot_reconstructions(self, plan: PlanResult, *, count: int = 8) -> Figure:
        """Originals above what attackers made of them: undefended, under dropout, at the plan. See `report`.

        Raises:
            CollabplanError: nothing was attacked there in this workspace, or inputs are no images.
        """
        found = shown_galleries(plan.record, galleries_of(plan.record, self.workspace))
        if not found:
            raise CollabplanError("no pictures of this plan's cut are kept here; run study.attack(plan) first")
        return plot_reconstructions(found, count=count)

    def _report(self, plan: PlanResult, pictures: bool) -> Report:
        return report_plan(plan.record, self.workspace, plan_file=plan.planned.path.name, pictures=pictures)

    def split(self, plan: PlanResult, folder: str | Path) -> WrittenHalves:
        """Write the two halves of a plan, proven to compose to the model bit for bit.

        Raises:
            CollabplanError: they cannot be written, or do not compose.
        """
        return split_plan(plan.planned, Path(folder), self.reporter)

    def bundle(
        self,
        plan: PlanResult,
        folder: str | Path,
        *,
        formats: Sequence[Literal["onnx", "pt2"]] = (),
        with_fallback: bool = False,
        allow_shared_weights: bool = False,
    ) -> Bundled:
        """Write the folder that deploys a plan: one part for the device, one for the server.

        Args:
            plan: what is deployed.
            folder: for the bundle; it must not hold anything else.
            formats: other engines that the halves are written for.
            with_fallback: put the whole model into the edge part.
            allow_shared_weights: also where both halves need the same weights.

        Raises:
            CollabplanError: the bundle cannot be written, or does not compose to the model.
        """
        return bundle_plan(
            plan.planned,
            Path(folder),
            self.reporter,
            formats=formats,
            with_fallback=with_fallback,
            allow_shared_weights=allow_shared_weights,
        )

    def _with_data(self) -> Session:
        """The session of a target that has validation data."""
        self.session.target.require_validation_data()
        return self.session

    def _kept(self, plan: Plan, found: SearchResult) -> LoadedPlan:
        """A plan with its model, written into the workspace."""
        file = self.workspace.prepare() / "plans" / f"{plan.study}-{plan.cut_id}.json"
        make_folder(file.parent)
        plan = save_plan(plan, found.tuned_weights, found.projection, file)
        target, traced = self.session.target, self.session.traced
        cut = planned_cut(plan, traced)
        return LoadedPlan(plan, file, target, traced, cut, found.tuned_weights, found.projection)


class Target(Study):
    """A study of a model that this process holds: it names what a target file would define.

    Args:
        model: the network.
        example_inputs: a tensor, a tuple of the model's arguments, a dict of its keyword arguments, or (args, kwargs).
        validation_data: inputs `[N, *sample]` with labels `[N]`, a Dataset, or a function that returns them.
        train_data: what the model was trained on, in the same form.
        attacker_data: auxiliary data that an attacker is assumed to own.
        other_attacker_data: auxiliary data of another distribution.
        sensitive_labels: one number for each validation sample.
        evaluate: (outputs, labels) -> score, higher is better.
        public_inputs: names of inputs that are no secret.
        input_range: values of black and white, or `input_mean` and `input_std` instead.
        batch_dim: the dimension that counts samples, if it is not the first.
        returns: what the service answers with: `label`, `label+probability`, `top5` or `logits`; None: not declared.
        region_of_interest: what of an image is secret: a box (top, left, bottom, right), or a mask `[H, W]`.
        defense_stages: classes of defense stages of your own, which plans of this model may name.
        workspace: as of `Study`.
        reporter: as of `Study`.

    Raises:
        TargetError: no model, NaN weights, or inputs that are none.

    Examples:
        >>> import torch
        >>> study = Target(torch.nn.Linear(4, 2), torch.zeros(1, 4))
        >>> study
        <Study of Linear (in memory)>
        >>> study.session.traced.identity.name
        'Linear'
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        *,
        validation_data: Any = None,
        train_data: Any = None,
        attacker_data: Any = None,
        other_attacker_data: Any = None,
        sensitive_labels: Any = None,
        evaluate: Callable[..., Any] | None = None,
        public_inputs: Sequence[str] = (),
        input_range: tuple[float, float] | None = None,
        input_mean: Any = None,
        input_std: Any = None,
        batch_dim: int | Mapping[str, int | None] | None = 0,
        returns: Returns | None = None,
        region_of_interest: Any = None,
        defense_stages: Sequence[type[CustomStage]] = (),
        workspace: str | Path | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        declared = {
            "validation_data": validation_data,
            "train_data": train_data,
            "attacker_data": attacker_data,
            "other_attacker_data": other_attacker_data,
            "sensitive_labels": sensitive_labels,
            "evaluate": evaluate,
            "public_inputs": public_inputs,
            "input_range": input_range,
            "input_mean": input_mean,
            "input_std": input_std,
            "returns": returns,
            "region_of_interest": region_of_interest,
            "defense_stages": tuple(defense_stages),
            **({} if batch_dim == 0 else {"batch_dim": batch_dim}),
        }
        super().__init__(target_in_memory(model, example_inputs, declared), workspace=workspace, reporter=reporter)


class PlanResult(Result[Plan]):
    """A plan, with the model that it is for.

    Attributes:
        record: the plan.
        planned: the plan with its model.
        search: what the search found; None for a plan that was read from a file.
    """

    def __init__(self, study: Study, planned: LoadedPlan, search: SearchResult | None = None) -> None:
        super().__init__(planned.plan)
        self._study, self.planned, self.search = study, planned, search

    @property
    def title(self) -> str:
        """The plan's figures in one line."""
        return self.record.headline

    @property
    def notes(self) -> Sequence[str]:
        """How much was searched, and what the user should know."""
        searched = () if self.search is None else (how_much(self.search), *self.search.notes)
        missed = None if self.search is None else self.search.nearest_miss
        open_ = () if self.record.proven else (unproven(self.record, self.planned.path),)
        return (*searched, *plan_notes(self.record, missed), *open_)

    def rows(self) -> list[Row]:
        """The plan, the baselines, and the front's other candidates from the least leakage to the most."""
        plan = self.record
        rows = [candidate_row(plan.chosen, "plan")]
        rows += [candidate_row(each.candidate, each.role) for each in plan.baselines]
        return rows + [candidate_row(each, "front") for each in front_rows(plan, plan.budgets)]

    def save(self, file: str | Path) -> Path:
        """Write the plan with its tensors beside it, for the command line or another machine.

        Raises:
            CollabplanError: the file cannot be written.
        """
        save_plan(self.record, self.planned.tuned, self.planned.projection, Path(file))
        return Path(file)

    def explain(self) -> dict[str, list[str]]:
        """Why this plan, in sentences by heading."""
        return explanation(self.record)

    def attack(self, **options: Any) -> AttackResult:
        """As `Study.attack`."""
        return self._study.attack(self, **options)

    def verify(self, cloud: str | None = None, **options: Any) -> MeasuredResult:
        """As `Study.verify`."""
        return self._study.verify(self, cloud, **options)

    def report(self, file: str | Path = "report.html", **options: Any) -> Path:
        """As `Study.report`."""
        return self._study.report(self, file, **options)

    def split(self, folder: str | Path) -> WrittenHalves:
        """As `Study.split`."""
        return self._study.split(self, folder)

    def bundle(self, folder: str | Path, **options: Any) -> Bundled:
        """As `Study.bundle`."""
        return self._study.bundle(self, folder, **options)


def open(
    target: str | Path,
    *,
    inputs: Sequence[str] = (),
    batch_dim: Sequence[str] = (),
    data: str | Path | None = None,
    workspace: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Study:
    """Open a target for study. **Its code runs when it is first needed.**

    Args:
        target: `path.py`, `path.py:NAME` or `package.module:NAME`.
        inputs: shapes in place of the file's `example_inputs`: `1x3x224x224`, `ids=1x128:int64`.
        batch_dim: in place of the file's `batch_dim`: `1`, `x=1`, `mask=none`.
        data: a folder or file in place of the file's `validation_data`.
        workspace: folder for what is kept; default: `.collabplan` here.
        reporter: hears of progress; default: the notebook, or the logger `collabplan`.

    Examples:
        >>> open("model.py")
        <Study of model.py>
    """
    given = InputOptions.given(inputs, batch_dim, data)
    return Study(str(target), inputs=given, workspace=workspace, reporter=reporter)
