"""Models of a package by their name: `timm:resnet18`, `torchvision:resnet18`, `hf:prajjwal1/bert-tiny`.

Nothing is downloaded. Weights are taken from the package's own local cache, or from a folder (`hf:./folder`). Where
they are absent they are random, and the target says so. Read are safetensors, and torchvision's checkpoints with
`weights_only`, which runs no code.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..records import TargetError

RANDOM = "random weights: latency is right, accuracy and leakage mean nothing"
SOURCES = ("timm", "torchvision", "hf")
_TOKENS = 32
"""The length of an example text."""


@dataclass(frozen=True, eq=False)
class NamedModel:
    """A model of a package, with what its configuration says.

    Attributes:
        model: in eval mode.
        declared: what a target file would define beside it.
        weights: where they are from, in words.
        random: they are not the trained ones.
    """

    model: nn.Module
    declared: Mapping[str, Any] = field(default_factory=dict)
    weights: str = RANDOM
    random: bool = True


def is_named(text: str) -> bool:
    """Whether a target names a package's model.

    Examples:
        >>> is_named("timm:resnet18"), is_named("torchvision.models:resnet18"), is_named("model.py")
        (True, False, False)
    """
    source, colon, name = text.partition(":")
    return bool(colon and name) and source in SOURCES


def build_named(text: str) -> NamedModel:
    """Build the model that a target names.

    Raises:
        TargetError: the package is not installed, does not know the name, or cannot build it without a download.
        Exception: whatever the package raises.
    """
    source, _, name = text.partition(":")
    builders: dict[str, Callable[[str], NamedModel]] = {"timm": _timm, "torchvision": _torchvision, "hf": _hugging_face}
    with _offline():
        return builders[source](name)


@contextmanager
def _offline() -> Iterator[None]:
    """Within: the hub's clients look into their caches alone."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _package(module: str, text: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise TargetError(
            f"{text} needs {error.name}, which is not installed; run: pip install {error.name}"
        ) from error


def _unknown(text: str, known: list[str]) -> TargetError:
    import difflib

    near = difflib.get_close_matches(text.partition(":")[2], known, n=3, cutoff=0.5)
    meant = f"; did you mean {', '.join(near)}?" if near else f"; it has {', '.join(known[:5])}, ..."
    return TargetError(f"{text.partition(':')[0]} has no model {text.partition(':')[2]!r}{meant}")


def _timm(name: str) -> NamedModel:
    timm = _package("timm", f"timm:{name}")
    if not timm.is_model(name.partition(".")[0]):
        raise _unknown(f"timm:{name}", list(timm.list_models()))
    model = timm.create_model(name, pretrained=False).eval()
    config = getattr(model, "pretrained_cfg", None) or model.default_cfg
    file = _cached(config.get("hf_hub_id"), "model.safetensors")
    if file is not None:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(file))
    return _pictured(model, tuple(config["input_size"]), config.get("mean"), config.get("std"), file)


def _torchvision(name: str) -> NamedModel:
    package = _package("torchvision", f"torchvision:{name}")
    models = package.models
    if name not in models.list_models(module=models):
        raise _unknown(f"torchvision:{name}", list(models.list_models(module=models)))
    weights = models.get_model_weights(name).DEFAULT
    how = weights.transforms()
    size = how.crop_size[0]
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    extra: dict[str, Any] = {}
    if name in ("inception_v3", "googlenet"):  # trained on inputs that these two normalise again
        extra = {"init_weights": False, "transform_input": file.is_file()}
    model = models.get_model(name, weights=None, **extra).eval()
    if file.is_file():
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return _pictured(model, (3, size, size), how.mean, how.std, file if file.is_file() else None)


def _pictured(model: nn.Module, size: tuple[int, ...], mean: Any, std: Any, file: Path | None) -> NamedModel:
    declared: dict[str, Any] = {"example_inputs": (torch.zeros(1, *size),)}
    if mean is not None and std is not None:
        declared |= {"input_mean": tuple(mean), "input_std": tuple(std)}
    return _with_weights(model, declared, file)


def _with_weights(model: nn.Module, declared: Mapping[str, Any], file: Path | None) -> NamedModel:
    if file is None:
        return NamedModel(model, declared)
    return NamedModel(model, declared, f"read from {file.name}", random=False)


def _hugging_face(name: str) -> NamedModel:
    text = f"hf:{name}"
    transformers = _package("transformers", text)
    folder = Path(name).expanduser()
    if not folder.is_dir() and _cached(name, "config.json") is None:
        raise TargetError(
            f"{text} is neither a folder here nor in the local cache, and nothing is downloaded; run: "
            f"hf download {name}, or give the folder: hf:./folder"
        )
    place = str(folder) if folder.is_dir() else name
    config = transformers.AutoConfig.from_pretrained(place, local_files_only=True)
    kinds = [kind for kind in config.architectures or () if hasattr(transformers, kind)]
    kind = getattr(transformers, kinds[0]) if kinds else transformers.AutoModel
    weights = (
        next(iter(sorted(folder.glob("*.safetensors"))), None)
        if folder.is_dir()
        else _cached(name, "model.safetensors")
    )
    if weights is not None:
        model, report = kind.from_pretrained(
            place, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        if report["missing_keys"]:  # a head that the checkpoint lacks is made up
            weights = None
    else:
        model = kind(config) if kinds else kind.from_config(config)
    model = model.eval()
    processor = folder / "preprocessor_config.json" if folder.is_dir() else _cached(name, "preprocessor_config.json")
    return _with_weights(model, _of_hugging_face(model, config, processor), weights)


def _of_hugging_face(model: Any, config: Any, processor: Path | None) -> dict[str, Any]:
    """Example inputs and scaling of a transformer for pictures or text."""
    wanted = getattr(model, "main_input_name", "input_ids")
    if wanted == "pixel_values":
        known = (
            json.loads(processor.read_text(encoding="utf-8")) if processor is not None and processor.is_file() else {}
        )
        size = getattr(config, "image_size", None) or known.get("size", {}).get("height") or 224
        height, width = (size, size) if isinstance(size, int) else size
        declared: dict[str, Any] = {
            "example_inputs": {wanted: torch.zeros(1, getattr(config, "num_channels", 3), height, width)}
        }
        if known.get("image_mean") and known.get("image_std"):
            declared |= {"input_mean": known["image_mean"], "input_std": known["image_std"]}
        return declared
    if wanted != "input_ids":
        raise TargetError(f"a model of {wanted} has no example inputs by its name; give them with --input")
    ids = torch.ones(1, min(_TOKENS, getattr(config, "max_position_embeddings", _TOKENS)), dtype=torch.int64)
    return {
        "example_inputs": {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        "public_inputs": ["attention_mask"],
    }


def _cached(repository: str | None, name: str) -> Path | None:
    """A file of the Hugging Face cache; None if it is not there, or the hub's client is not installed."""
    if not repository:
        return None
    try:
        hub = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError:
        return None
    found = hub.try_to_load_from_cache(repository, name)
    return Path(found) if isinstance(found, str) else None
