"""What is found in a target file, by which rule, and what is left as it was."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from collabplan.records import TargetError
from collabplan.targets.input_options import InputOptions
from collabplan.targets.target import Finding, Target, load_target, read_scaling
from collabplan.targets.user_code import TargetSpec
from collabplan.workflows.attack_data import divide
from target_files import DATA

Write = Callable[..., Path]


def found(target: Target, what: str, findings: Sequence[Finding] = ()) -> str:
    return next(finding.how for finding in findings or target.findings if finding.what == what)


@pytest.mark.parametrize(
    ("text", "file", "module", "attribute"),
    [
        ("net.py", "net.py", None, None),
        ("dir/net.py:build", "dir/net.py", None, "build"),
        ("package.module:Net", None, "package.module", "Net"),
        ("package.module", None, "package.module", None),
        ("C:/models/net.py", "C:/models/net.py", None, None),
    ],
)
def test_a_target_is_a_file_or_a_module(text: str, file: str | None, module: str | None, attribute: str | None) -> None:
    spec = TargetSpec.parse(text)
    assert (spec.file and str(spec.file), spec.module, spec.attribute) == (file, module, attribute)


def test_a_function_called_model_is_taken_first(target: Write) -> None:
    loaded = load_target(str(target("\nother = Net()\n")))
    assert "built by the function `model`" in found(loaded, "model")


def test_an_attribute_wins(target: Write) -> None:
    loaded = load_target(f"{target('other = nn.Linear(6, 2)')}:other")
    assert isinstance(loaded.model, torch.nn.Linear)


def test_the_only_model_is_taken_without_the_name(target: Write) -> None:
    loaded = load_target(str(target("\ndel model\nnetwork = Net()\n")))
    assert "bound to `network` (the only model in the file)" in found(loaded, "model")


def test_the_only_model_class_is_instantiated(target: Write) -> None:
    loaded = load_target(str(target("\ndel model\n")))
    assert "the only model class in the file" in found(loaded, "model")


def test_a_class_with_arguments_is_refused_by_their_names() -> None:
    with pytest.raises(TargetError, match="needs the arguments in_features, out_features"):
        load_target("torch.nn:Linear", ["1x6"])


def test_a_module_of_a_package() -> None:
    loaded = load_target("torch.nn:Identity", ["1x6"])
    assert loaded.example.summary() == "float32 1x6"
    assert loaded.identity.options == {"input": "1x6"}


def test_a_module_of_the_working_directory(target: Write) -> None:
    target(name="my_own_network.py")
    assert load_target("my_own_network:model").file is not None


def test_the_file_finds_its_neighbours_and_gets_a_name_of_its_own(target: Write, here: Path) -> None:
    (here / "neighbour_of_target.py").write_text("SIZE = 6\n")
    loaded = load_target(str(target("\nimport neighbour_of_target\nassert __name__ != '__main__'\n")))
    assert type(loaded.model).__module__.startswith("collabplan_target_")


def test_training_mode_and_weights_stay_as_they_are(target: Write) -> None:
    loaded = load_target(str(target("\nmodel = Net().train()\nmodel.head.eval()\n")))
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    loaded.trace()
    assert loaded.model.training
    assert not loaded.model.head.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.model.state_dict().items())


def test_a_model_without_saved_weights_is_the_same_each_time(target: Write) -> None:
    path = str(target())
    first, second = load_target(path), load_target(path)
    weights = [target.model.get_parameter("head.weight") for target in (first, second)]
    assert torch.equal(*weights)


def test_global_random_generators_are_left_alone(target: Write) -> None:
    states = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    assert isinstance(states[1], dict)
    before = states[1]["state"]["key"].copy()
    load_target(str(target("\nimport random, numpy\nrandom.random(); numpy.random.rand(); torch.rand(3)\n")))
    assert random.getstate() == states[0]
    after = np.random.get_state(legacy=False)
    assert isinstance(after, dict)
    assert np.array_equal(after["state"]["key"], before)
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    ("value", "args", "kwargs"),
    [
        ("torch.zeros(1, 6)", 1, 0),
        ("(torch.zeros(1, 6),)", 1, 0),
        ("((torch.zeros(1, 6),), {})", 1, 0),
        ("((), {'x': torch.zeros(1, 6)})", 0, 1),
        ("{'x': torch.zeros(1, 6)}", 0, 1),
        ("lambda: torch.zeros(1, 6)", 1, 0),
    ],
)
def test_forms_of_example_inputs(target: Write, value: str, args: int, kwargs: int) -> None:
    loaded = load_target(str(target(f"\nexample_inputs = {value}\n")))
    assert (len(loaded.example.args), len(loaded.example.kwargs)) == (args, kwargs)
    assert loaded.trace().tensor_inputs[0].name == "x"


def test_inputs_by_name_and_dtype(target: Write) -> None:
    loaded = load_target(str(target()), ["x=2x6:float64"])
    assert loaded.example.kwargs["x"].dtype == torch.float64


def test_a_target_without_example_inputs_says_what_to_add(target: Write) -> None:
    with pytest.raises(TargetError, match="--input 1x3x32x32"):
        load_target(str(target("\ndel example_inputs\n")))


@pytest.mark.parametrize(
    ("example", "rows", "said"),
    [
        ("torch.zeros(1, 6)", "torch.rand(40, 6)", False),
        ("torch.zeros(1, 3, 4, 6)", "torch.rand(40, 3, 4, 6)", True),
        ("torch.zeros(1, 3, 4, 6).double()", "torch.rand(40, 3, 4, 6).double()", True),
    ],
)
def test_an_assumed_range_of_pixels_is_told_of_images_alone(target: Write, example: str, rows: str, said: bool) -> None:
    text = f"\nmodel = lambda: Net().double() if {said and 'double' in example} else Net()\n"
    loaded = load_target(str(target(f"{text}example_inputs = ({example},)\nvalidation_data = {rows}\n")))
    findings = loaded.load_data(loaded.trace()).findings
    assert any(finding.what == "pixels" for finding in findings) == said


def test_validation_data_is_divided_once_into_disjoint_splits(target: Write) -> None:
    loaded = load_target(str(target(DATA)))
    data, again = loaded.load_data(loaded.trace()), loaded.load_data(loaded.trace())
    assert len(data.search) == len(data.confirm) == 60
    assert not set(data.search.sample_hashes()) & set(data.confirm.sample_hashes())
    assert data.search.content_hash == again.search.content_hash
    assert data.attacker is not None
    assert data.train is None


def test_what_a_file_lacks_is_said(target: Write) -> None:
    assert "cannot measure accuracy and leakage" in found(load_target(str(target())), "")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"input_range": (1, 0)}, "low < high"),
        ({"input_range": (0, 1, 2)}, "needs \\(low, high\\)"),
        ({"input_range": "wide"}, "must hold numbers"),
        ({"input_mean": [0.5]}, "input_mean alone"),
        ({"input_range": (0, 1), "input_mean": [0], "input_std": [1]}, "keep the one that is true"),
        ({"input_mean": [0.0], "input_std": [0.0]}, "above 0"),
    ],
)
def test_ranges_that_are_none(names: dict[str, object], message: str) -> None:
    with pytest.raises(TargetError, match=message):
        read_scaling(names)


def test_forms_of_range() -> None:
    assert read_scaling({"input_range": (-1, 1)}).low == (-1.0,)
    assert read_scaling({"input_mean": torch.tensor([0.5, 0.5]), "input_std": [0.5, 0.25]}).low == (-1.0, -2.0)
    assert read_scaling({}) is None


def test_sensitive_labels_are_one_per_sample(target: Write) -> None:
    loaded = load_target(str(target(DATA + "\nsensitive_labels = [0, 1]\n")))
    with pytest.raises(TargetError, match="each of 120 validation samples, got 2"):
        loaded.load_data(loaded.trace())


def test_a_metric_that_raises_names_its_line(target: Write) -> None:
    loaded = load_target(str(target("\ndef evaluate(outputs, labels):\n    raise ValueError('no such label')\n")))
    assert loaded.evaluate is not None
    with pytest.raises(TargetError, match=r"evaluate raised ValueError: no such label \(model\.py, line"):
        loaded.evaluate(None, None)


def test_public_inputs_must_be_names(target: Write) -> None:
    with pytest.raises(TargetError, match="public_inputs"):
        load_target(str(target("\npublic_inputs = [1]\n")))


PHOTOS = """
import numpy
model = lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
example_inputs = (torch.zeros(1, 3, 4, 4),)
generator = numpy.random.default_rng(0)
pixels, classes = generator.integers(0, 256, (100, 9, 5, 3)).astype("uint8"), generator.integers(0, 3, 100)
numpy.savez(__file__.replace("model.py", "photos.npz"), x=pixels, y=classes)
"""


@pytest.mark.parametrize("path", ["'photos.npz'", "__import__('pathlib').Path('photos.npz')"])
def test_one_set_from_a_path_is_shared_with_the_attacker(target: Write, path: str) -> None:
    loaded = load_target(str(target(f"{PHOTOS}validation_data = {path}\nsensitive_labels = classes * 2\n")))
    data = loaded.load_data(loaded.trace())
    assert data.attacker is not None
    assert [len(part) for part in (data.search, data.confirm, data.attacker)] == [25, 25, 50]
    assert data.sensitive_labels is not None
    assert data.validation.labels is not None
    assert torch.equal(data.sensitive_labels, 2 * data.validation.labels)
    assert (data.scaling.low, data.scaling.high) == ((0.0,), (1.0,))
    said = found(loaded, "validation_data", data.findings)
    assert "the only data set, so it was divided (seed 0)" in said
    assert "8-bit pictures scaled to [0, 1]" in said
    assert "half of the one data set" in divide(data)[0].source


def test_an_attackers_own_data_leave_the_validation_data_whole(target: Write) -> None:
    extra = f"{PHOTOS}validation_data = 'photos.npz'\ninput_mean, input_std = [0.5] * 3, [0.5] * 3\n"
    loaded = load_target(str(target(f"{extra}def attacker_data(): return torch.rand(9, 3, 4, 4)\n")))
    data = loaded.load_data(loaded.trace())
    assert data.attacker is not None
    assert (len(data.validation), len(data.attacker)) == (100, 9)
    assert float(data.validation.inputs[0].min()) < -0.8
    assert "scaled by `input_mean` and `input_std`" in found(loaded, "validation_data", data.findings)


def test_data_of_the_command_line_take_the_place_of_the_files(target: Write) -> None:
    path = str(target(f"{PHOTOS}validation_data = 'absent.npz'\nsensitive_labels = [1]\n"))
    loaded = load_target(path, InputOptions(data="photos.npz"))
    assert loaded.identity.options == {"data": "photos.npz"}
    assert InputOptions.kept_in(loaded.identity.options) == InputOptions(data="photos.npz")
    assert loaded.load_data(loaded.trace()).sensitive_labels is None


def test_what_a_service_returns_is_declared_by_one_of_four_forms(target: Write) -> None:
    assert load_target(str(target(""))).returns is None
    loaded = load_target(str(target("\nreturns = 'top5'\n")))
    assert loaded.returns == "top5"
    assert found(loaded, "returns").startswith("top5")
    with pytest.raises(TargetError, match=r"returns must be one of 'label', 'label\+probability', 'top5', 'logits'"):
        load_target(str(target("\nreturns = 'labels'\n")))
