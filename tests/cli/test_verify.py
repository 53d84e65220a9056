"""`verify` runs a plan over a shaped link, and says where it is not as planned."""

from __future__ import annotations

from pathlib import Path

import pytest
from collabplan.records import Interval, Latency, Plan, load, save
from command_line import PROFILE, SEARCH, Run, ran_in

VERIFY = ("verify", "plan.json", "--requests", "4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a proper cut was planned.

    Its latency may be anything, since the tests' machine may be busy, and so may its accuracy: fresh masks on 60
    samples scatter as much as its interval is wide.
    """
    search = (
        "optimize",
        *SEARCH,
        "--trials",
        "21",
        "--max-edge-params",
        "60",
        "--bandwidth",
        "100mbps",
        "--rtt",
        "2ms",
    )
    folder = ran_in(tmp_path_factory.mktemp("made"), PROFILE, search)
    plan = load(Plan, folder / "plan.json")
    planned = plan.chosen.latency
    wide = Latency(p50_ms=Interval(value=planned.p50_ms.value, low=0, high=1e5), p95_ms=1e5, parts=planned.parts)
    any_ = plan.chosen.accuracy.accuracy.model_copy(update={"low": 0.0, "high": 1.0})
    accuracy = plan.chosen.accuracy.model_copy(update={"accuracy": any_})
    chosen = plan.chosen.model_copy(update={"latency": wide, "accuracy": accuracy})
    save(plan.model_copy(update={"chosen": chosen}), folder / "plan.json")
    return folder


@pytest.fixture
def planned(made: Path, here: Path) -> Path:
    for name in ("model.py", "plan.json"):
        (here / name).write_bytes((made / name).read_bytes())
    return here


def changed(path: Path, **chosen: object) -> None:
    plan = load(Plan, path)
    save(plan.model_copy(update={"chosen": plan.chosen.model_copy(update=chosen)}), path)


def test_a_plan_that_does_what_it_says_is_verified(planned: Path, run: Run) -> None:
    ran = run(*VERIFY, "--link-shape", "50mbps,4ms", "-o", "verified.json")
    said = " ".join(ran.out.split())
    assert ran.code == 0, ran.err
    for part in (
        "edge half",
        "defense and packing",
        "serialisation",
        "transfer and download",
        "cloud half",
        "verified",
    ):
        assert part in said
    assert "60 samples came back bit for bit" in said
    assert "UNDEFENDED" not in ran.err, "the comparison on this machine says nothing about the plan"
    before, after = load(Plan, planned / "plan.json"), load(Plan, planned / "verified.json")
    measured = after.measured
    assert measured is not None
    assert after.model_copy(update={"measured": None}) == before
    assert after.portable() == before.portable(), "a verified plan makes the same bundle"
    assert measured.way.p50_ms >= 4.0
    assert (measured.link.rtt_ms, measured.link.bandwidth_bps) == (4.0, 50e6)
    assert len(measured.total.samples_ms) == 4


def test_what_is_outside_the_plan_s_interval_fails(planned: Path, run: Run) -> None:
    plan = load(Plan, planned / "plan.json")
    none = Interval(value=1e-6, low=1e-6, high=1e-6)
    accuracy = plan.chosen.accuracy.model_copy(update={"accuracy": Interval(value=1.0, low=0.999, high=1.0)})
    parts = plan.chosen.latency.parts
    changed(planned / "plan.json", latency=Latency(p50_ms=none, p95_ms=1.0, parts=parts), accuracy=accuracy)
    ran = run(*VERIFY, "--json")
    assert ran.code == 1
    violations = ran.document["violations"]
    assert "slower than planned" in violations[0]
    assert "accuracy over the wire" in violations[1]
    assert "not as planned" in ran.err.splitlines()[-1]


@pytest.mark.usefixtures("planned")
def test_usage(run: Run) -> None:
    assert "leave it or --cloud out" in run(*VERIFY, "--cloud", "127.0.0.1:1", "--link-shape", "1mbps,1ms").line
    assert "for example 20mbps,15ms" in run(*VERIFY, "--link-shape", "fast").line
    unreachable = run(*VERIFY, "--cloud", "127.0.0.1:1")
    assert unreachable.code == 2
    assert "cannot be used" in unreachable.err.splitlines()[-1]
