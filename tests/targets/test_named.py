"""Models by name, with packages that are faked: sizes and scaling from their configurations, weights from caches."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from collabplan.records import TargetError
from collabplan.targets.input_options import InputOptions
from collabplan.targets.target import load_target
from safetensors.torch import save_file
from torch import Tensor, nn

CONFIG = {"input_size": (3, 8, 8), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2), "hf_hub_id": "timm/tiny"}


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, 2)
        self.pretrained_cfg = CONFIG

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


def package(monkeypatch: pytest.MonkeyPatch, name: str, **names: Any) -> None:
    module = ModuleType(name)
    for key, value in names.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    package(
        monkeypatch,
        "timm",
        is_model=lambda name: name == "tiny",
        list_models=lambda: ["tiny", "small"],
        create_model=lambda name, pretrained: Tiny(),  # noqa: ARG005
    )


def hub(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]) -> None:
    package(
        monkeypatch,
        "huggingface_hub",
        try_to_load_from_cache=lambda repository, name: str(files[name]) if name in files else None,  # noqa: ARG005
    )


@pytest.mark.usefixtures("timm")
def test_timm_gives_size_and_scaling_and_says_that_weights_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, {})
    target = load_target("timm:tiny")
    assert target.example.summary() == "float32 1x3x8x8"
    assert target.declared["input_mean"] == (0.5, 0.4, 0.3)
    assert target.warnings == ("timm:tiny has random weights: latency is right, accuracy and leakage mean nothing",)
    assert (target.identity.spec, target.file) == ("timm:tiny", None)
    first, again = (each.model.get_parameter("fc.weight") for each in (target, load_target("timm:tiny")))
    assert torch.equal(first, again), "the same in each command"
    assert target.trace().tensor_inputs[0].name == "x"


@pytest.mark.usefixtures("timm")
def test_weights_of_the_local_cache_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = {name: torch.full_like(tensor, 0.25) for name, tensor in Tiny().state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    hub(monkeypatch, {"model.safetensors": tmp_path / "model.safetensors"})
    target = load_target("timm:tiny", InputOptions(inputs=("2x3x8x8",), data="photos"))
    assert target.warnings == ()
    assert float(target.model.fc.weight.detach().max()) == 0.25
    assert target.example.summary() == "float32 2x3x8x8"
    assert str(target.declared["validation_data"]).endswith("photos")


@pytest.mark.usefixtures("timm")
def test_an_unknown_name_is_told_with_near_ones() -> None:
    with pytest.raises(TargetError, match=r"timm has no model 'tinny'; did you mean tiny"):
        load_target("timm:tinny")


@pytest.mark.parametrize(
    ("text", "name"), [("timm:a", "timm"), ("torchvision:a", "torchvision"), ("hf:a", "transformers")]
)
def test_a_package_that_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TargetError, match=f"needs {name}, which is not installed; run: pip install {name}"):
        load_target(text)


@pytest.mark.parametrize("cached", [True, False])
def test_torchvision_gives_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cached: bool) -> None:
    how = SimpleNamespace(crop_size=[8], mean=[0.5] * 3, std=[0.25] * 3)
    weights = SimpleNamespace(url="https://example.org/tiny-1.pth", transforms=lambda: how)
    models = SimpleNamespace(
        list_models=lambda module: ["tiny"],  # noqa: ARG005
        get_model=lambda name, weights: Tiny(),  # noqa: ARG005
        get_model_weights=lambda name: SimpleNamespace(DEFAULT=weights),  # noqa: ARG005
    )
    package(monkeypatch, "torchvision", models=models)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    if cached:
        (tmp_path / "checkpoints").mkdir()
        torch.save(Tiny().state_dict(), tmp_path / "checkpoints" / "tiny-1.pth")
    target = load_target("torchvision:tiny")
    assert target.example.summary() == "float32 1x3x8x8"
    assert target.declared["input_std"] == (0.25,) * 3
    assert bool(target.warnings) != cached


def test_a_folder_of_hugging_face(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Pictures(Tiny):
        main_input_name = "pixel_values"

        def __init__(self, config: Any) -> None:
            super().__init__()
            self.config = config

        def forward(self, pixel_values: Tensor) -> Tensor:
            return super().forward(pixel_values)

    config = SimpleNamespace(architectures=["Pictures"], image_size=8)
    auto = SimpleNamespace(from_pretrained=lambda place, local_files_only: config)  # noqa: ARG005
    package(monkeypatch, "transformers", AutoConfig=auto, Pictures=Pictures)
    hub(monkeypatch, {})
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1] * 3, "image_std": [0.2] * 3}))
    target = load_target(f"hf:{tmp_path}")
    assert target.example.summary() == "pixel_values=float32 1x3x8x8"
    assert target.declared["input_mean"] == [0.1] * 3
    assert target.warnings
    with pytest.raises(TargetError, match=r"neither a folder here nor in the local cache.*hf download someone/else"):
        load_target("hf:someone/else")
