"""A bundle's parts compose to the model, travel alone, and hold nothing of each other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from bundle_plans import (
    ByNumber,
    FixedBatch,
    Made,
    OneMemory,
    SkipNet,
    Tokens,
    TwoHeads,
    crossing,
    first,
    images,
    last,
    make,
    middle,
    rows,
    tokens,
)
from collabplan.defenses import Fresh
from collabplan.graph import load_program, same_values, split
from collabplan.records import (
    BudgetError,
    CollabplanError,
    MismatchError,
    RecordError,
    TensorFile,
    hash_tensors,
    load,
)
from collabplan.records import BundleManifest as Manifest
from collabplan.runtime import WrittenBundle, open_cloud, open_edge, write_bundle
from collabplan.runtime import halves as halves_module
from defense_records import defense_record
from safetensors.torch import load_file
from torch import Tensor, nn

MODELS: dict[str, Callable[[], Made]] = {
    "a skip connection, two crossings": lambda: make(SkipNet(), images, crossing("relu", "conv2d_1")),
    "a dict with a number in it": lambda: make(SkipNet(), images, crossing("relu")),
    "a dictionary by numbers": lambda: make(ByNumber(), rows, middle),
    "an output made on the edge": lambda: make(TwoHeads(), rows, middle),
    "tokens with a public mask": lambda: make(Tokens(), tokens, middle, public=("mask",)),
    "one batch size": lambda: make(FixedBatch(), rows, middle, batch=3),
    "views of one memory": lambda: make(OneMemory(), rows, middle),
    "half of the directions": lambda: make(SkipNet(), images, crossing("relu"), spec=defense_record(share=0.5)),
    "directions of the whole": lambda: make(SkipNet(), images, crossing("relu"), spec=defense_record(rank=6, bits=3)),
    "cloud-only": lambda: make(SkipNet(), images, first),
    "noise and coarse codes": lambda: make(
        SkipNet(), images, middle, spec=defense_record(noise="gaussian", noise_std=0.1, bits=4, rounding="stochastic")
    ),
}


def written(made: Made, folder: Path, **options: object) -> WrittenBundle:
    given = {"projection": made.projection, **options}
    return write_bundle(made.plan, made.traced, made.cut, folder, **given)  # type: ignore[arg-type]


@pytest.fixture
def skip() -> Made:
    return MODELS["a skip connection, two crossings"]()


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_compose_to_the_model_bit_for_bit(name: str, tmp_path: Path) -> None:
    made = MODELS[name]()
    written(made, tmp_path / "bundle")
    edge, cloud = open_edge(tmp_path / "bundle"), open_cloud(tmp_path / "bundle")
    part = edge.manifest.part
    for batch in (1, 4) if part.batch is None else (part.batch,):
        inputs = made.inputs(batch)
        with torch.no_grad():
            crossed, expected = edge.program(*inputs), made.model(*inputs)
            assert same_values(cloud.program(*crossed), expected)
            assert edge.defense.crossing == cloud.defense.crossing == made.cut.crossing
            received = cloud.defense.receive(edge.defense.release(crossed, Fresh()))
            assert [tensor.shape for tensor in received] == [tensor.shape for tensor in crossed]
        assert [tuple(tensor.shape) for tensor in inputs] == [spec.shape_at(batch) for spec in part.inputs]
        leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(expected) if leaf is not None]
        assert len(leaves) == len(part.outputs.tensors)
        for leaf, spec in zip(leaves, part.outputs.tensors, strict=True):
            assert spec.number != isinstance(leaf, torch.Tensor)
            if isinstance(leaf, torch.Tensor):
                assert (tuple(leaf.shape), str(leaf.dtype)) == (spec.shape_at(batch), f"torch.{spec.dtype}")
    assert part.wire.payload_bytes == made.plan.chosen.payload_bytes
    assert cloud.manifest.part.inputs == ()
    assert cloud.plan == edge.plan == made.plan.portable()


@dataclass
class Answer:
    """What a model may return once it is registered; a program file holds a dict, with None for what is absent."""

    logits: Tensor
    loss: Tensor | None = None
    hidden: tuple[Tensor, ...] | None = None


torch.export.register_dataclass(Answer, serialized_type_name="collabplan.tests.Answer")


class Answers(nn.Module):
    def __init__(self, form: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.first, self.second, self.form = nn.Linear(6, 7), nn.Linear(7, 3), form

    def forward(self, x: Tensor) -> object:
        return self.form(self.second(torch.tanh(self.first(x))))


@pytest.mark.parametrize("choose", [middle, last], ids=["cut", "whole"])
@pytest.mark.parametrize(
    "form",
    [Answer, lambda y: Answer(y, None, (y, y + 1)), lambda y: Answer(y, y.sum(1)), lambda y: [Answer(y), {"n": None}]],
)
def test_fields_of_a_registered_class_that_are_none_are_no_difference(form, choose, tmp_path: Path) -> None:
    made = make(Answers(form), rows, choose)
    written(made, tmp_path / "bundle")
    edge = open_edge(tmp_path / "bundle")
    found = edge.program(*rows(2))
    if choose is middle:
        found = open_cloud(tmp_path / "bundle").program(*found)
    wanted = made.model(*rows(2))
    answer, expected = (found[0], wanted[0]) if isinstance(found, list) else (found, wanted)
    assert sorted(answer) == ["hidden", "logits", "loss"]
    assert all(same_values(answer[name], getattr(expected, name)) for name in answer)


def test_halves_that_compute_something_else_are_refused_without_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(Answers(Answer), rows, middle)

    def damaged(folder: Path) -> object:
        program = load_program(folder)
        for parameter in program.parameters():
            parameter.data += 1e-3
        return program

    monkeypatch.setattr(halves_module, "load_program", damaged)
    with pytest.raises(BudgetError, match=r"^the halves do not compose to the model bit for bit"):
        written(made, tmp_path / "bundle")

    def unreadable(folder: Path) -> object:
        raise RecordError(f"program {folder} is damaged")

    monkeypatch.setattr(halves_module, "load_program", unreadable)
    with pytest.raises(RecordError, match=f"^program {re.escape(str(tmp_path / 'bundle' / 'edge'))} is damaged"):
        written(made, tmp_path / "bundle")


def test_both_parts_get_the_directions_and_no_others(tmp_path: Path) -> None:
    made = MODELS["half of the directions"]()
    written(made, tmp_path / "b")
    for part in (open_edge(tmp_path / "b"), open_cloud(tmp_path / "b")):
        assert part.defense.matrices is not None
        assert made.plan.defense.projection is not None
        assert part.defense.matrices.sha256 == made.plan.defense.projection.matrices
        assert part.manifest.part.wire.payload_bytes == 2 * 16
    with pytest.raises(MismatchError, match="not the projection"):
        written(made, tmp_path / "c", projection=None)
    assert not (tmp_path / "c").exists()
    (tmp_path / "b" / "edge" / "projection.safetensors").unlink()
    with pytest.raises(RecordError, match=r"lacks projection\.safetensors"):
        open_edge(tmp_path / "b")


def test_the_structure_of_the_output_is_told(skip: Made, tmp_path: Path) -> None:
    outputs = written(skip, tmp_path / "b").edge.part.outputs
    pairs = [["logits", {"output": 0}], ["batch", {"output": 1}], ["nothing", None]]
    assert outputs.structure == {"dict": pairs}
    assert [spec.number for spec in outputs.tensors] == [False, True]


def test_a_public_input_is_marked_and_crosses_as_it_is(tmp_path: Path) -> None:
    written(MODELS["tokens with a public mask"](), tmp_path / "b")
    edge = open_edge(tmp_path / "b")
    assert [(spec.name, spec.dtype, spec.public) for spec in edge.manifest.part.inputs] == [
        ("ids", "int64", False),
        ("mask", "float32", True),
    ]
    assert [crossing.public for crossing in edge.defense.crossing] == [False, True]


def test_each_part_opens_alone_after_it_was_copied(skip: Made, tmp_path: Path) -> None:
    written(skip, tmp_path / "bundle")
    for role in ("edge", "cloud"):
        shutil.copytree(tmp_path / "bundle" / role, tmp_path / "device" / f"my-{role}")
    shutil.rmtree(tmp_path / "bundle")
    edge, cloud = open_edge(tmp_path / "device" / "my-edge"), open_cloud(tmp_path / "device" / "my-cloud")
    with torch.no_grad():
        assert same_values(cloud.program(*edge.program(*images(2))), skip.model(*images(2)))


@pytest.mark.parametrize("name", MODELS)
def test_neither_part_holds_the_others_weights(name: str, tmp_path: Path) -> None:
    made = MODELS[name]()
    written(made, tmp_path, formats=["pt2"] if name in ("views of one memory", "one batch size") else [])
    stored = {role: load_file(tmp_path / role / "weights.safetensors") for role in ("edge", "cloud")}
    files = {role: b"".join(file.read_bytes() for file in (tmp_path / role).iterdir()) for role in stored}
    assert sum(len(tensors) for tensors in stored.values()) > 0
    for mine, other in (("edge", "cloud"), ("cloud", "edge")):
        for tensor in stored[mine].values():
            if tensor.numel() > 2 and tensor.unique().numel() > 1:
                data = tensor.numpy().tobytes()
                assert data not in files[other]
                assert data[: len(data) // 2] not in files[other], "not half of it either"


def test_tied_weights_are_named_and_refused_unless_they_may_be_shared(tmp_path: Path) -> None:
    made = make(Tokens(tied=True), tokens, middle, public=("mask",))
    with pytest.raises(CollabplanError, match=r"\(embedding\.weight\).*--allow-shared-weights"):
        written(made, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
    written(made, tmp_path / "b", allow_shared_weights=True)
    edge, cloud = open_edge(tmp_path / "b"), open_cloud(tmp_path / "b")
    assert edge.manifest.part.shared_tensors == cloud.manifest.part.shared_tensors == ("embedding.weight",)
    with torch.no_grad():
        assert same_values(cloud.program(*edge.program(*tokens(2))), made.model(*tokens(2)))


def test_weights_that_are_views_of_the_same_numbers_are_shared_under_any_name() -> None:
    class Transposed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 6))
            self.register_buffer("again", self.weight.detach().t())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x @ self.weight.t()) @ self.again.t()

    from collabplan.graph import candidate_cuts, shared_tensors, trace

    traced = trace(Transposed(), rows(1))
    assert len(shared_tensors(split(traced, middle(candidate_cuts(traced))))) == 1


def test_edge_only_is_the_whole_model_in_the_edge_part_and_sends_nothing(tmp_path: Path) -> None:
    made = make(SkipNet(), images, last)
    assert written(made, tmp_path / "b", fallback=True).cloud is None
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["edge"]
    edge = open_edge(tmp_path / "b")
    assert not edge.sends
    assert edge.defense.crossing == ()
    assert edge.manifest.part.wire.payload_bytes == 0
    with torch.no_grad():
        assert same_values(edge.program(*images(3)), made.model(*images(3)))
        assert same_values(edge.fallback()(*images(3)), made.model(*images(3)))
    with pytest.raises(RecordError, match="has no cloud part: its plan runs everything on the device"):
        open_cloud(tmp_path / "b")


def test_cloud_only_leaves_no_weights_on_the_device(tmp_path: Path) -> None:
    written(MODELS["cloud-only"](), tmp_path / "b")
    assert load_file(tmp_path / "b" / "edge" / "weights.safetensors") == {}
    assert open_edge(tmp_path / "b").defense.crossing[0].raw_input


def test_the_fallback_is_the_whole_model_and_only_there_on_request(skip: Made, tmp_path: Path) -> None:
    written(skip, tmp_path / "without")
    with pytest.raises(RecordError, match="holds no fallback"):
        open_edge(tmp_path / "without").fallback()
    written(skip, tmp_path / "with", fallback=True)
    edge = open_edge(tmp_path / "with" / "edge")
    assert edge.manifest.part.has_fallback
    assert not open_cloud(tmp_path / "with").manifest.part.has_fallback
    with torch.no_grad():
        assert same_values(edge.fallback()(*images(2)), skip.model(*images(2)))
    weights = tmp_path / "with" / "edge" / "fallback" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(RecordError, match="changed after it was written"):
        edge.fallback()


def test_fine_tuned_weights_go_into_the_cloud_half_and_no_others_do(skip: Made, tmp_path: Path) -> None:
    cloud = split(skip.traced, skip.cut).cloud
    tuned = {name: value.detach() + 1 for name, value in cloud.named_parameters()}
    told = TensorFile(file="plan.weights.safetensors", sha256=hash_tensors(tuned))
    made = replace(skip, plan=skip.plan.model_copy(update={"tuned_weights": told}))
    for wrong in (None, {**tuned, "head.bias": torch.zeros(5)}):
        with pytest.raises(MismatchError, match="fine-tuned weights"):
            written(made, tmp_path / "b", tuned=wrong)
    with pytest.raises(MismatchError, match="no fine-tuned weights"):
        written(skip, tmp_path / "b", tuned=tuned)
    written(made, tmp_path / "b", tuned=tuned)
    stored = load_file(tmp_path / "b" / "cloud" / "weights.safetensors")
    assert all(torch.equal(stored[name.removeprefix("graph_module.")], value) for name, value in tuned.items())


def test_the_two_parts_recognise_each_other_and_no_part_of_another_bundle(skip: Made, tmp_path: Path) -> None:
    one = written(skip, tmp_path / "one")
    assert one.cloud is not None
    again = written(skip, tmp_path / "again")
    assert again == replace(one, folder=again.folder), "the same plan and model make the same bundle"
    other = written(MODELS["a dict with a number in it"](), tmp_path / "other")
    for manifest in (one.edge, one.cloud):
        for partner in (one.edge, one.cloud, other.edge, other.cloud):
            assert partner is not None
            found = manifest.recognises(partner.bundle_id, partner.part_sha256)
            assert found == (partner in (one.edge, one.cloud) and partner is not manifest)


def test_another_model_other_weights_and_another_cut_are_refused(skip: Made, tmp_path: Path) -> None:
    other = make(SkipNet(), images, crossing("relu"))
    with torch.no_grad():
        other.model.head.bias.add_(1)
    changed = make(TwoHeads(), rows, middle)
    with pytest.raises(MismatchError, match="another structure"):
        write_bundle(skip.plan, changed.traced, changed.cut, tmp_path / "b")
    with pytest.raises(MismatchError, match="lets other tensors cross"):
        write_bundle(skip.plan, skip.traced, other.cut, tmp_path / "b")
    weights = skip.plan.model.model_copy(update={"weights_hash": "0" * 64})
    with pytest.raises(MismatchError, match="other weights"):
        write_bundle(skip.plan.model_copy(update={"model": weights}), skip.traced, skip.cut, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_an_older_bundle_of_the_same_plan_is_replaced_and_nothing_else(skip: Made, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    written(skip, folder, fallback=True)
    written(skip, folder)
    assert not open_edge(folder).manifest.part.has_fallback
    assert [path.name for path in tmp_path.iterdir()] == ["b"], "nothing temporary is left"
    with pytest.raises(MismatchError, match="bundle of another plan"):
        written(MODELS["a dict with a number in it"](), folder)
    (folder / "edge" / "notes.txt").write_text("mine")
    with pytest.raises(CollabplanError, match=r"it holds notes\.txt"):
        written(skip, folder)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("mine")
    with pytest.raises(CollabplanError, match=r"is no bundle \(it holds thesis\.tex\)"):
        written(skip, mine)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CollabplanError, match="is no folder that can be written to"):
        written(skip, tmp_path / "file")
    (tmp_path / "halves" / "edge").mkdir(parents=True)
    with pytest.raises(CollabplanError, match=r"manifest\.json does not exist"):
        written(skip, tmp_path / "halves")
    assert (mine / "thesis.tex").read_text() == "mine"


def test_a_failure_leaves_nothing_and_keeps_what_was_there(
    skip: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(skip, tmp_path / "b")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*_: object, **__: object) -> None:
        raise ValueError("this engine cannot\nat all")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(CollabplanError, match=r"edge/half\.pt2 cannot be made \(ValueError: this engine cannot\)"):
        written(skip, tmp_path / "b", formats=["pt2"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_no_folder_of_this_machine_is_told(skip: Made, tmp_path: Path) -> None:
    written(skip, tmp_path / "b", formats=["pt2"])
    for file in (tmp_path / "b").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            for told in (b"somebody", b"secret-project", b"/site-packages", str(Path(__file__).parent).encode()):
                assert told not in data, f"{file.name} tells {told!r}"
    plan = json.loads((tmp_path / "b" / "cloud" / "plan.json").read_text())
    assert plan["target"]["spec"] == "model.py:Net"
    assert plan["provenance"]["command"] == ["collabplan", "optimize", "-o", "plan.json"]


def test_the_manifest_holds_no_key_and_no_seed(tmp_path: Path) -> None:
    keyed = make(SkipNet(), images, middle, spec=defense_record(dropout="element", rate=0.5, masks="keyed"))
    written(keyed, tmp_path / "b")
    text = (tmp_path / "b" / "edge" / "manifest.json").read_text()
    assert '"masks": "keyed"' in text
    assert "seed" not in text
    assert "secret" not in text
    assert load(Manifest, tmp_path / "b" / "edge" / "manifest.json").part.wire.defense.masks == "keyed"
