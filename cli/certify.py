"""`collabplan certify`: attacks a plan until it is signed off or has fallen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..workflows.options import CertifyOptions
from .grouping import grouped, option
from .options import (
    AUDITS,
    Debug,
    HelpAll,
    Json,
    OtherTarget,
    PlanFile,
    artifacts_option,
    device_option,
    examples,
    memory_option,
)

if TYPE_CHECKING:
    from ..workflows.certify import Certified
    from .output import Output

EXAMPLES = examples(
    ("go on attacking the plan until it is signed off", "collabplan certify plan.json"),
    ("for an hour; the next call goes on", "collabplan certify plan.json --time-limit 1h"),
    ("the same on several machines, which divide the attacks", "collabplan certify plan.json --artifacts /shared"),
)

CERTIFY_OPTIONS = {
    "time_limit": option("End by then; the same command goes on: 90s, 15m, 2h, none.", "TIME", AUDITS, default=True),
    "effort": option("Effort of the attacks.", None, AUDITS, default=True),
    "seeds": option("Runs of the attacks; signing off takes three.", "N", AUDITS, default=True, least=1, most=1000),
    "device": device_option(AUDITS, rare=True),
    "memory": memory_option(AUDITS, rare=True),
    "artifacts": artifacts_option(rare=True),
}


@grouped(options=CERTIFY_OPTIONS)
def certify(
    plan: PlanFile,
    options: CertifyOptions,
    model: OtherTarget = None,
    as_json: Json = False,
    _debug: Debug = False,
    _help_all: HelpAll = False,
) -> None:
    """Attack a plan until it may be signed off or has fallen, and write the certificate into it.

    It goes on from the attacks that `optimize`, `attack` and earlier calls have finished, and may be interrupted at any
    moment. Exit 1: attackers broke a budget on privacy, or something is still missing. Loading the plan's target runs
    its Python code.
    """
    from ..workflows.certify import certify_plan
    from ..workflows.workspace import Workspace
    from .faults import Interrupted, interrupted
    from .output import Output

    output = Output(as_json=as_json)
    try:
        found = certify_plan(plan, model, options, Workspace.here(), output)
        report(found, str(plan), output)
    except BaseException as error:
        if interrupted(error):
            raise Interrupted(f"finished attacks are kept, and the same command goes on; {plan} is whole") from error
        raise


def report(found: Certified, file: str, output: Output) -> None:
    """Print the certificate, or what is missing.

    Raises:
        BudgetError: the plan has fallen, or something is missing.
    """
    from ..records import BudgetError
    from .next_steps import to_deploy
    from .plan_tables import audited, level_text

    plan = found.plan
    for head, text in [] if plan.chosen.audited is None else audited(plan.chosen.audited):
        output.say(f"{head:<8} {text}")
    output.say(f"{'level':<8} {level_text(plan)}")
    if plan.certificate is not None:
        output.say(f"{'tried':<8} {', '.join(plan.certificate.attackers)}; seeds {_listed(plan.certificate.seeds)}")
        output.say(f"{'not':<8} {'; '.join(plan.certificate.not_tried)}")
    output.document(
        {
            "plan_file": file,
            "level": plan.level,
            "missing": list(found.missing),
            "fallen": list(found.fallen),
            "timed_out": found.timed_out,
            "certificate": None if plan.certificate is None else plan.certificate.model_dump(mode="json"),
        }
    )
    if found.fallen:
        raise BudgetError(f"the plan has fallen: {'; '.join(found.fallen)}; search again with `collabplan optimize`")
    if found.missing:
        more = "; the same command goes on" if found.timed_out else ""
        raise BudgetError(f"not signed off yet, which still takes {'; '.join(found.missing)}{more}")
    output.next(*to_deploy(plan, file))


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))
