"""`collabplan explain`: why this plan, in words."""

from __future__ import annotations

from .options import USUAL_PLAN, Debug, HelpAll, Json, PlanFile, examples

EXAMPLES = examples(
    ("why this cut, and what the others would have cost", "collabplan explain plan.json"),
    ("for a report", "collabplan explain plan.json --json"),
)


def explain(
    plan: PlanFile = USUAL_PLAN, as_json: Json = False, _debug: Debug = False, _help_all: HelpAll = False
) -> None:
    """Say in words why this cut and this defense were chosen, what was rejected and by how much.

    Everything is read from the plan; nothing is run.
    """
    from ..records import Plan, load
    from ..workflows.explain import explanation
    from .next_steps import to_attack
    from .output import Output

    output = Output(as_json=as_json)
    loaded = load(Plan, plan)
    sections = explanation(loaded)
    for head, sentences in sections.items():
        output.say(f"\n{head}")
        for sentence in sentences:
            output.say(f"- {sentence}")
    output.document({"plan_file": str(plan), "headline": loaded.headline, "sections": sections})
    output.next(*to_attack(loaded, plan))
