"""The first screen says what the plan says: harm rounded up, benefit down, nothing better than it is known."""

import pytest
import report_plans as made
from collabplan.records import Accuracy, Candidate, Crossing, Leakage, Plan
from collabplan.report import evidence_of
from collabplan.report.decision import decision, down, score, sent_numbers, up

ATTACKED = made.candidate(audited=made.audited())


def sentence(plan: Plan) -> str:
    return decision(plan, evidence_of(plan)).sentence


def test_the_sentence_of_an_attacked_plan() -> None:
    assert sentence(made.plan(chosen=ATTACKED)) == (
        "Run the network up to layer2.2 on the device and send 96 numbers (96 B); at most 25 of 100 pictures come back "
        "recognisable; accuracy falls from 88.4 to 84.4 % (at worst 83.2 %); a request takes 33.0 ms (95 of 100 at "
        "most 41.0 ms)."
    )


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (made.candidate(), "by estimate alone, up to 38 % of the private input can be reconstructed, and nobody has"),
        (
            made.candidate(audited=made.audited("quick", 1)),
            "up to 25 of 100 pictures come back recognisable under quick attacks, and stronger ones recover more",
        ),
        (
            made.candidate(audited=made.audited(conclusive=False, failed=("inverse",))),
            "in the attacks that ended, and 1 FAILED, which proves nothing",
        ),
        (
            made.candidate(audited=made.audited(reconstruction_rate=None)),
            "at most 44 % of the private input comes back",
        ),
        (
            made.candidate(
                leakage=Leakage(
                    index=made.interval(0.3, 0.2, 0.41), status="estimated", index_of="token recovery", sample_count=9
                )
            ),
            "by estimate, up to 41 of 100 private tokens can be read, and nobody has attacked it",
        ),
    ],
)
def test_what_leaks_is_said_with_what_it_is_worth(chosen: Candidate, said: str) -> None:
    assert said in sentence(made.plan(chosen=chosen))


def test_only_attacks_that_ended_may_say_at_most() -> None:
    for effort, failed, right in (("quick", (), False), ("standard", ("x",), False), ("standard", (), True)):
        audited = made.audited(effort, 3, conclusive=not failed, failed=failed)
        assert ("at most 25 of 100" in sentence(made.plan(chosen=made.candidate(audited=audited)))) == right


def test_the_input_itself_and_nothing_at_all_are_said_in_words() -> None:
    raw = made.candidate(
        "cloud-only", made.NONE, leakage=made.estimated(0.98).model_copy(update={"status": "by-definition"})
    )
    nothing = made.interval(0.0, 0.0, 0.0)
    edge = made.candidate(
        "edge-only", made.NONE, leakage=Leakage(index=nothing, status="by-definition", sample_count=0)
    )
    assert "Send the input as it is" in sentence(made.plan(chosen=raw))
    assert "whoever receives it has the input itself" in sentence(made.plan(chosen=raw))
    assert "Run the whole network on the device and send nothing; nothing private leaves" in sentence(
        made.plan(chosen=edge)
    )


def test_a_measured_plan_says_so_and_keeps_the_worse_p95() -> None:
    plan = made.plan(chosen=ATTACKED)
    plan = plan.model_copy(update={"measured": made.measured(plan)})
    assert "a request takes 35.0 ms as measured (95 of 100 at most 41.0 ms)" in sentence(plan)
    assert decision(plan, evidence_of(plan)).missed == ("p50 above the interval",)


def test_a_metric_that_is_no_share_is_not_shown_in_percent() -> None:
    accuracy = Accuracy(
        metric="R2", accuracy=made.interval(0.7, 0.6, 0.8), undefended=0.75, drop=made.interval(0.05, 0.0, 0.1),
        sample_count=10, draws=1,
    )  # fmt: skip
    assert "R2 falls from 0.750 to 0.700 (at worst 0.650)" in sentence(
        made.plan(chosen=made.candidate(accuracy=accuracy))
    )


def test_numbers_that_cannot_be_counted_are_said_in_bytes() -> None:
    two = tuple(Crossing(name=name, node=name, dtype="float32", sample_shape=(32, 8)) for name in ("h", "skip"))
    assert sent_numbers(made.plan(crossing=two)) == "96 B"
    assert sent_numbers(made.plan(chosen=made.candidate(defense=made.NONE))) == "8,192 numbers (96 B)"


@pytest.mark.parametrize(("share", "high", "low"), [(0.2401, 25, 24), (0.24, 24, 24), (0.0, 0, 0), (1.2, 100, 100)])
def test_harm_is_rounded_up_and_benefit_down(share: float, high: int, low: int) -> None:
    assert (up(share), down(share)) == (high, low)
    assert score("top-1 accuracy", 0.8329, down=True) == "83.2 %"


def test_what_was_not_tested_follows_from_the_plan() -> None:
    said = " ".join(decision(made.plan(), evidence_of(made.plan())).not_tested)
    for part in ("No attack was run", "never run", "the link is assumed"):
        assert part in said
    attacked = made.plan(chosen=ATTACKED)
    assert "No attack was run" not in " ".join(decision(attacked, evidence_of(attacked)).not_tested)
