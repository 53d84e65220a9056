"""Fourteen small models as users bring them: profile, optimize, split; each comes out right, or with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from collabplan.graph import TracedGraph, load_program, resize_batch, same_values
from collabplan.records import Plan, Profile, load
from collabplan.targets.target import Target, load_target
from command_line import PROFILE, Run
from user_models import EVALUATE, HEAD, USER_MODELS, UserModel

SEARCH = ("--budget-ms", "60000", "--max-accuracy-drop", "1", "--no-audit", "--trials", "3", "--draws", "1")


@pytest.fixture(autouse=True)
def _plain_attention() -> Iterator[None]:
    """The fused attention of eval mode rounds differently."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.parametrize("user", USER_MODELS, ids=lambda user: user.name)
def test_a_users_model_is_profiled_optimized_and_split(user: UserModel, here: Path, run: Run) -> None:
    file = here / "model.py"
    if user.refused:
        file.write_text(HEAD + user.text)
        ran = run(*PROFILE)
        assert ran.code == 2
        assert all(word in ran.line for word in user.refused)
    file.write_text(HEAD + user.text + EVALUATE.get(user.name, ""))

    ran = run(*PROFILE, "--max-crossing", "2", "-o", "profile.json")
    assert ran.code == 0, ran.err
    profile = load(Profile, Path("profile.json"))
    assert [cut.name for cut in profile.cuts if cut.kind == "proper"]

    edge = max(cut.edge_parameter_count for cut in profile.cuts if cut.kind == "proper")
    ran = run("optimize", "--profile", "profile.json", *SEARCH, "--max-edge-params", str(edge), "-o", "plan.json")
    assert ran.code == 0, ran.err
    plan = load(Plan, Path("plan.json"))
    assert plan.cut_kind == "proper"
    assert 0 <= plan.chosen.leakage.index.low <= plan.chosen.leakage.index.high <= 1
    assert user.metric in plan.chosen.accuracy.metric
    target = load_target("model.py")
    traced = target.trace()
    assert plan.chosen.accuracy.undefended == pytest.approx(quality(user, target, traced), abs=1e-3)

    ran = run("split", "plan.json", "-o", "halves")
    assert ran.code == 0, ran.err
    assert_halves_equal_the_model(here / "halves", target, traced)


def quality(user: UserModel, target: Target, traced: TracedGraph) -> float:
    """The model's score on the confirm split, by the test's own formula."""
    data = target.load_data(traced)
    namespace: dict[str, Any] = {}
    exec(f"def quality(outputs, labels, everything):\n    return {user.quality}", namespace)
    with torch.no_grad():
        outputs = call(target, traced, list(data.confirm.inputs))
    return float(namespace["quality"](outputs, data.confirm.labels, data.validation.labels))


def call(target: Target, traced: TracedGraph, inputs: list[torch.Tensor]) -> Any:
    """The user's own model, eagerly and uncompiled, on tensors in the order of its inputs, their samples first."""
    model = getattr(target.model, "_orig_mod", target.model)
    specs = traced.tensor_inputs
    moved = [tensor.movedim(0, spec.batch_dim or 0) for tensor, spec in zip(inputs, specs, strict=True)]
    if target.example.kwargs:
        return model(**{spec.name: tensor for spec, tensor in zip(specs, moved, strict=True)})
    return model(*moved)


def assert_halves_equal_the_model(folder: Path, target: Target, traced: TracedGraph) -> None:
    """Read back, they compose to the model bit for bit, at two batch sizes."""
    edge, cloud = load_program(folder / "edge"), load_program(folder / "cloud")
    for batch in (1, 3):
        inputs, samples = [], []
        for spec, example in zip(traced.tensor_inputs, traced.example_inputs, strict=True):
            assert spec.batch_dim is not None
            made = resize_batch(example, spec.batch_dim, batch)
            inputs.append(made + torch.randn(made.shape).to(made) if made.is_floating_point() else made)
            samples.append(inputs[-1].movedim(spec.batch_dim, 0))
        with torch.no_grad():
            assert same_values(cloud(*edge(*inputs)), call(target, traced, samples)), f"batch {batch}"
