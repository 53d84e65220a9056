"""Gathers what is known of a plan and writes it as one page. No code of the user's is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..attacks.galleries import Gallery, kept_galleries
from ..records import AuditReport, CollabplanError, LeakageReport, Plan, Profile, RecordError, load, write_text
from ..records.extras import require_modules
from ..report.document import Report
from ..report.page import MARK, report_page
from ..report.report import ReportSources, make_report
from ..report.tables import Depth
from .explain import explanation
from .workspace import Workspace


def report_plan(
    plan: Plan | Path,
    workspace: Workspace,
    *,
    plan_file: str | None = None,
    audits: Sequence[Path | AuditReport] = (),
    leakage: Path | LeakageReport | None = None,
    profile: Path | None = None,
    pictures: bool = True,
) -> Report:
    """Everything that is known of a plan.

    Args:
        plan: the plan, or its file.
        workspace: whose kept profiles and audits of the same model are used.
        plan_file: the plan's name in suggested commands; by default its file's.
        audits: reports of `collabplan attack -o`.
        leakage: a report of `collabplan leakage -o`.
        profile: of the plan's model; default: the last of it that the workspace keeps.
        pictures: False leaves private pictures out.

    Raises:
        RecordError: a file that is not what it should be.
        MismatchError: a file of another model.
    """
    named = plan_file or (plan.name if isinstance(plan, Path) else "plan.json")
    plan = load(Plan, plan) if isinstance(plan, Path) else plan
    given = None if profile is None else load(Profile, profile)
    if given is not None:
        plan.model.require_same(given.model, record="the plan", weights=False)
    return make_report(
        ReportSources(
            plan=plan,
            plan_file=named,
            audits=[load(AuditReport, each) if isinstance(each, Path) else each for each in audits],
            leakage=load(LeakageReport, leakage) if isinstance(leakage, Path) else leakage,
            galleries=galleries_of(plan, workspace),
            pictures=pictures,
            depths=_depths(plan, given or kept_profile(plan, workspace)),
            why=explanation(plan),
        )
    )


def galleries_of(plan: Plan, workspace: Workspace) -> list[Gallery]:
    """The kept audits of a plan's model, made by the current revisions of all attacks."""
    from .revisions import current_revisions, is_outdated

    found = [each for each in kept_galleries(workspace.folder / "audits") if each.model == plan.model]
    current = current_revisions() if found else {}
    return [each for each in found if not is_outdated(each.revisions, current)]


def check_report(file: Path) -> None:
    """Refuse what would fail after hours of work: a package that is absent, a file that is no report.

    Raises:
        CollabplanError: says what is in the way.
    """
    require_modules("jinja2", "PIL")
    if file.is_dir():
        raise CollabplanError(f"{file} is a folder; name a file for the report, such as {file / 'report.html'}")
    if file.exists() and MARK not in _head(file):
        raise CollabplanError(f"{file} exists and is not a report of collabplan; name another file, or move it away")


def write_report(made: Report, file: Path) -> None:
    """Write a report as one HTML file. An older report is replaced.

    Raises:
        CollabplanError: the file holds something else, or cannot be written.
    """
    check_report(file)
    write_text(file, report_page(made))


def _head(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(1000).decode("utf-8", "replace")
    except OSError as error:
        raise CollabplanError(f"{file} cannot be read ({error.strerror}); name another file") from error


def kept_profile(plan: Plan, workspace: Workspace) -> Profile | None:
    """The newest kept profile of both roles of the plan's model on the plan's device; None if there is none."""
    found = []
    for path in sorted((workspace.folder / "profiles").glob("*.json")):
        try:
            profile = load(Profile, path)
        except RecordError:
            continue
        fits = profile.role == "both" and profile.model.structure_hash == plan.model.structure_hash
        if fits and profile.device.name == plan.edge_device.name and profile.batch == plan.batch:
            found.append(profile)
    return max(found, key=lambda each: each.provenance.created_utc, default=None)


def _depths(plan: Plan, profile: Profile | None) -> list[Depth]:
    """Every cut of a profile with its latency over the plan's link, 8-bit and without a defense."""
    if profile is None:
        return []
    from ..planner.latency import predict_latency
    from ..profilers.joining import join

    found = []
    for joined in sorted(join(profile), key=lambda each: each.cut.depth):
        cut = joined.cut
        bytes_ = sum(each.sample_elements * (1 if each.is_quantized else each.element_bytes) for each in cut.crossing)
        sent = 0 if cut.kind == "edge-only" and plan.budgets.result_at == "edge" else bytes_
        latency = predict_latency(
            joined,
            plan.link,
            upload_bytes=sent * plan.batch,
            download_bytes=profile.sample_output_bytes * plan.batch,
            edge_slowdown=plan.edge_slowdown,
            result_at=plan.budgets.result_at,
        )
        found.append(Depth(cut.id, cut.name, cut.kind, latency.p50_ms.value, sent))
    return found
