"""The worked examples of CONTRIBUTING.md run as they stand there."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from bundle_plans import SkipNet, images, make, middle
from cli_targets import Run
from collabplan.attacks import AdversaryView, AuditRequest, AuditTarget, Effort, attack_named, check_attack, run_audit
from collabplan.cli.catalogue import COMMANDS, Command
from collabplan.defenses import Defense, defense_of, defenses_of
from collabplan.estimators import Channel, EdgeActivations, check_estimator
from collabplan.records import save
from collabplan.targets import Data, InputScaling

CONTRIBUTING = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
EXAMPLES = re.findall(r"^```python\n# (\S+).*?\n(.*?)^```$", CONTRIBUTING.read_text(encoding="utf-8"), re.M | re.S)
MOST_LINES = 30
EFFORT = Effort("quick", 40, 200, 50, 50, 4, 8, False)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports the example that begins with the comment `# file`, as a module."""

    def imported(file: str) -> Any:
        module = ModuleType(Path(file).stem)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(dict(EXAMPLES)[file], file, "exec", dont_inherit=True), vars(module))
        return module

    return imported


def test_every_example_is_run_by_a_test_below() -> None:
    assert sorted(file for file, _ in EXAMPLES) == [
        "attacks/nearest.py", "defenses/clip.py", "estimators/gaussian_fit.py", "workflows/payload.py"
    ]  # fmt: skip


@pytest.mark.parametrize("file", dict(EXAMPLES))
def test_an_example_has_at_most_30_lines(file: str) -> None:
    assert sum(bool(line.strip()) for line in dict(EXAMPLES)[file].splitlines()) <= MOST_LINES


def test_the_stage_bounds_what_is_released_and_is_spelled_with_its_parameter(example: Callable[[str], Any]) -> None:
    clip = example("defenses/clip.py").Clip
    made = make(SkipNet(), images, middle, spec=defense_of(clip(1.0)))
    defense = Defense.for_cut(made.plan.defense, made.cut)
    target = AuditTarget(made.traced, made.cut, defense, InputScaling.from_range(0, 1))
    data = Data(images(16))
    crossed = EdgeActivations(made.traced).rows(made.cut, data)
    for clean, released in zip(crossed, target.release(data, torch.Generator().manual_seed(0)).rows, strict=True):
        ends = clean.flatten(1).std(dim=1)
        assert (released.flatten(1).abs().amax(dim=1) <= 1.05 * ends).all()
        assert (clean.flatten(1).abs().amax(dim=1) > 1.5 * ends).any()
    spelled = [each.text for each in defenses_of("clip:limit=1.0,4.0")]
    assert spelled == [defense_of(clip(limit)).text for limit in (1.0, 4.0)]


def test_the_attack_finds_the_image_behind_a_release_and_is_part_of_an_audit(example: Callable[[str], Any]) -> None:
    made = make(SkipNet(), images, middle)
    defense = Defense.for_cut(made.plan.defense, made.cut)
    target = AuditTarget(made.traced, made.cut, defense, InputScaling.from_range(0, 1))
    pool = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    # Targets are near-copies of auxiliary images, so the nearest one is known.
    own, targets = Data((pool.repeat(4, 1, 1, 1),)), Data((pool * 0.99,))
    attack = example("attacks/nearest.py").Nearest()
    view = AdversaryView(target, own, "black-box", queries=10)
    released = target.release(targets, torch.Generator().manual_seed(3), queries=10)
    attacker = attack.fit(view, EFFORT, torch.Generator().manual_seed(2))
    assert torch.equal(attacker.reconstruct(released, torch.Generator()).images, pool)

    attacks = [attack_named("prior"), attack_named("ridge"), attack]
    audit = run_audit(AuditRequest(target, targets, own), attacks, EFFORT, seed=0).record
    indices = {(each.attack, each.queries): each.figures.index.value for each in audit.attacks if each.status == "ok"}
    assert indices["nearest (10 releases)", 10] > 0.99


def test_the_attack_passes_the_conformance_suite(example: Callable[[str], Any]) -> None:
    check_attack(example("attacks/nearest.py").Nearest())


def test_the_estimator_passes_the_conformance_suite(example: Callable[[str], Any]) -> None:
    check_estimator(example("estimators/gaussian_fit.py").GaussianFit())


def test_the_estimator_is_exact_on_a_gaussian_channel(example: Callable[[str], Any]) -> None:
    rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4
    estimate = (
        example("estimators/gaussian_fit.py")
        .GaussianFit()
        .estimate(Channel.from_rows(rows, rows, 2.0), torch.Generator())
    )
    assert estimate.value == pytest.approx(1.5 * torch.log(torch.tensor(1 + 4.0)).item(), abs=0.1)


def test_the_command_prints_what_a_plan_sends(
    example: Callable[[str], Any], run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "collabplan.cli.payload", example("workflows/payload.py"))
    summary = "Print how many bytes the device sends for one sample."
    monkeypatch.setitem(COMMANDS, "payload", Command("payload", summary))
    plan = make(SkipNet(), images, middle).plan
    save(plan, here / "plan.json")
    assert run("payload", "plan.json").out == f"{plan.chosen.payload_bytes} B\n"
    assert "collabplan payload plan.json" in run("payload", "--help").out
    absent = run("payload", "absent.json")
    assert absent.code == 2
    assert "absent.json" in absent.line
