"""`collabplan verify`: runs a plan for real and holds its predictions to it."""

from __future__ import annotations

from typing import Annotated

from ..workflows.options import CloudOptions, VerifyOptions
from .grouping import grouped, option
from .options import (
    CLOUD,
    CLOUD_OPTIONS,
    Debug,
    Force,
    HelpAll,
    Json,
    OtherTarget,
    OutputFile,
    PlanFile,
    ReportFile,
    examples,
)

EXAMPLES = examples(
    ("on this machine, over a loopback link shaped like the plan's", "collabplan verify plan.json"),
    ("over another link", "collabplan verify plan.json --link-shape 20mbps,15ms"),
    (
        "against a server that runs the plan's bundle",
        "collabplan verify plan.json --cloud cloud.example:7433 --ca ca.pem -o verified.json",
    ),
)
_HOW = "How"
_SHOWN = {
    "link_shape": option("The loopback link: 20mbps,15ms; default: the plan's.", "RATE,RTT", _HOW),
    "requests": option("How many are timed.", "N", _HOW, default=True, least=1),
    "data": option("Samples for accuracy: those of the plan's figures, or all.", None, _HOW, default=True),
    "key_file": option(
        "Secret mask keys, for a plan with keyed masks; default: a key that is thrown away.", "FILE", _HOW
    ),
}


@grouped(tls=CLOUD_OPTIONS, options=_SHOWN)
def verify(
    plan: PlanFile,
    tls: CloudOptions,
    options: VerifyOptions,
    cloud: Annotated[
        str | None,
        option("A server that runs the plan's bundle; default: one here, behind a shaped link.", "HOST:PORT", CLOUD),
    ] = None,
    model: OtherTarget = None,
    file: OutputFile = None,
    page: ReportFile = None,
    force: Force = False,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Run the two halves of a plan and print predicted against measured: latency part by part, and accuracy.

    Without --cloud the cloud half runs in a second process, over a loopback link with the bandwidth, round trip and
    slow start of the plan's link (or of --link-shape), and undefended outputs are compared bit for bit too. With it,
    the link is whatever lies between, and is taken to be the plan's.

    Exit 1 where the measured median or the accuracy lies outside the plan's interval. -o writes the plan with what was
    measured. Run it on an otherwise idle machine. Loading the plan's target runs its Python code.
    """
    from ..records import BudgetError
    from ..workflows.planned import open_plan
    from ..workflows.replacing import refuse_to_replace
    from ..workflows.verify import check_verify_options, verify_plan, write_measured
    from .output import Output
    from .pages import require_plan, write_page
    from .verify_table import against, findings

    output = Output(as_json=as_json)
    refuse_to_replace(file, force)
    check_verify_options(cloud, options)
    if page is not None:
        require_plan(str(plan), page)
    found = open_plan(plan, model, output, needs_data=True)
    measured = verify_plan(found, options, output, cloud, tls)
    output.show(against(measured))
    for line in findings(measured, found.plan):
        output.say(line)
    if file is not None:
        write_measured(found, measured, file)
        output.wrote("plan, with what was measured", file)
    if page is not None:
        write_page(found.plan.model_copy(update={"measured": measured}), plan, page, output)
    output.document(measured)
    if measured.violations:
        raise BudgetError(f"not as planned: {'; '.join(measured.violations)}")
    output.say("verified: the plan does what it says")
    output.next(f"collabplan bundle {plan} -o bundle", "to deploy it: docs/deploy.md")
