"""Models that others wrote, built without downloaded weights: torchvision, timm, Hugging Face transformers.

They need an environment of their own (`make bench-env`): torchvision has no CPU build for this torch, so its operator
names are defined before it is imported; none of the classification models uses one.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

warnings.filterwarnings("ignore")


@dataclass(frozen=True)
class ZooModel:
    """A named model with example inputs of batch 1 (`inputs(batch)` gives any batch)."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[nn.Module, int, torch.Generator], dict[str, Tensor]]


def torchvision_module() -> Any:
    """torchvision, with the operators that its CPU build lacks defined by name."""
    for _ in range(20):
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            missing = re.search(r"operator (torchvision::\w+) does not exist", str(error))
            if missing is None:
                raise
            torch.library.define(missing.group(1), "() -> ()")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
    raise RuntimeError("torchvision cannot be imported")


def _images(size: int, channels: int = 3) -> Callable[[nn.Module, int, torch.Generator], dict[str, Tensor]]:
    def make(_model: nn.Module, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"x": torch.randn(batch, channels, size, size, generator=generator)}

    return make


def torchvision_models() -> Iterator[ZooModel]:
    """All classification models of torchvision."""
    models = torchvision_module().models
    for name in models.list_models(module=models):
        builder = models.get_model_builder(name)
        extra = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
        size = 299 if name == "inception_v3" else 224
        yield ZooModel(f"torchvision/{name}", functools.partial(builder, weights=None, **extra), _images(size))


LARGEST_PARAMETERS = 60_000_000
LARGEST_ALONE = 160_000_000
"""Where a family has no smaller model."""
LARGEST_SIZE = 384
PER_FAMILY = 2


def timm_models() -> Iterator[ZooModel]:
    """The two smallest models, of different sizes, of every timm module (a module is a family)."""
    for names in _timm_families()[0].values():
        yield from map(timm_model, names)


def timm_model(name: str) -> ZooModel:
    """One model of timm by its name."""
    torchvision_module()
    timm = importlib.import_module("timm")
    return ZooModel(f"timm/{name}", lambda: timm.create_model(name, pretrained=False), _timm_inputs)


@functools.cache
def _timm_families() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Names by family, and why a family has none."""
    torchvision_module()
    timm = importlib.import_module("timm")
    chosen: dict[str, list[str]] = {}
    missing: dict[str, str] = {}
    for module in sorted(timm.list_modules()):
        names = timm.list_models(module=module)
        sizes = {name: _parameters(timm, name) for name in names[:: max(1, len(names) // 8)]}
        known = sorted((size, name) for name, size in sizes.items() if isinstance(size, int))
        small = [pair for pair in known if pair[0] <= LARGEST_PARAMETERS] or known[:1]
        different = list(dict(reversed(small)).values())[::-1]
        if small and small[0][0] <= LARGEST_ALONE:
            chosen[module] = different[:PER_FAMILY]
        elif names:
            reasons = {reason for reason in sizes.values() if isinstance(reason, str)}
            missing[module] = f"the smallest has {known[0][0]:,} parameters" if known else "; ".join(sorted(reasons))
    return chosen, missing


def _parameters(timm: Any, name: str) -> int | str:
    """Parameters of a model, without making them; else why it is not taken."""
    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]}"
    size = model.default_cfg.get("input_size", (3, 224, 224))[-1]
    if size > LARGEST_SIZE:
        return f"images of {size}"
    count: int = sum(parameter.numel() for parameter in model.parameters())
    return count


def _timm_inputs(model: nn.Module, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    config: Any = model.default_cfg
    channels, height, width = config.get("input_size", (3, 224, 224))
    return {"x": torch.randn(batch, channels, height, width, generator=generator)}


def huggingface_models() -> Iterator[ZooModel]:
    """Text, vision, audio; encoders, decoders and both; reduced in depth and width."""
    torchvision_module()
    t = importlib.import_module("transformers")
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    vision = {**small, "image_size": 64, "patch_size": 16}
    plain = {"use_cache": False}

    def tokens(*names: str) -> Callable[[nn.Module, int, torch.Generator], dict[str, Tensor]]:
        def make(_model: nn.Module, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
            made: dict[str, Tensor] = {}
            for name in names:
                if name.endswith("mask"):
                    made[name] = torch.ones(batch, 12, dtype=torch.int64)
                else:
                    made[name] = torch.randint(5, 90, (batch, 12), generator=generator)
            return made

        return make

    def pixels(size: int) -> Callable[[nn.Module, int, torch.Generator], dict[str, Tensor]]:
        def make(_model: nn.Module, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
            return {"pixel_values": torch.randn(batch, 3, size, size, generator=generator)}

        return make

    def sound(name: str, *shape: int) -> Callable[[nn.Module, int, torch.Generator], dict[str, Tensor]]:
        def make(_model: nn.Module, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
            return {name: torch.randn(batch, *shape, generator=generator)}

        return make

    text = {**small, "vocab_size": 100, "max_position_embeddings": 64}
    table: list[tuple[str, str, str, dict[str, Any], Any]] = [
        ("bert", "BertConfig", "BertForSequenceClassification", text, tokens("input_ids", "attention_mask")),
        ("roberta", "RobertaConfig", "RobertaForSequenceClassification", text, tokens("input_ids", "attention_mask")),
        ("electra", "ElectraConfig", "ElectraForSequenceClassification", {**text, "embedding_size": 32},
         tokens("input_ids", "attention_mask")),
        ("albert", "AlbertConfig", "AlbertForSequenceClassification", {**text, "embedding_size": 32},
         tokens("input_ids", "attention_mask")),
        ("distilbert", "DistilBertConfig", "DistilBertForSequenceClassification",
         {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, "vocab_size": 100},
         tokens("input_ids", "attention_mask")),
        ("mpnet", "MPNetConfig", "MPNetForSequenceClassification", text, tokens("input_ids", "attention_mask")),
        ("gpt2", "GPT2Config", "GPT2LMHeadModel",
         {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 64, **plain}, tokens("input_ids")),
        ("gpt_neox", "GPTNeoXConfig", "GPTNeoXForCausalLM", {**text, **plain}, tokens("input_ids", "attention_mask")),
        ("opt", "OPTConfig", "OPTForCausalLM",
         {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 128, "vocab_size": 100,
          "word_embed_proj_dim": 64, "max_position_embeddings": 64, **plain}, tokens("input_ids", "attention_mask")),
        ("llama", "LlamaConfig", "LlamaForCausalLM", {**text, **plain}, tokens("input_ids")),
        ("mistral", "MistralConfig", "MistralForCausalLM", {**text, "num_key_value_heads": 2, **plain},
         tokens("input_ids")),
        ("qwen2", "Qwen2Config", "Qwen2ForCausalLM", {**text, "num_key_value_heads": 2, **plain}, tokens("input_ids")),
        ("t5", "T5Config", "T5ForConditionalGeneration",
         {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 100, **plain},
         tokens("input_ids", "decoder_input_ids")),
        ("bart", "BartConfig", "BartForConditionalGeneration",
         {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
          "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 100,
          "max_position_embeddings": 64, **plain}, tokens("input_ids", "decoder_input_ids")),
        ("vit", "ViTConfig", "ViTForImageClassification", vision, pixels(64)),
        ("deit", "DeiTConfig", "DeiTForImageClassification", vision, pixels(64)),
        ("dinov2", "Dinov2Config", "Dinov2ForImageClassification", vision, pixels(64)),
        ("convnext", "ConvNextConfig", "ConvNextForImageClassification",
         {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}, pixels(64)),
        ("resnet", "ResNetConfig", "ResNetForImageClassification",
         {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}, pixels(64)),
        ("mobilevit", "MobileViTConfig", "MobileViTForImageClassification",
         {"image_size": 64, "hidden_sizes": [48, 64, 80]}, pixels(64)),
        ("segformer", "SegformerConfig", "SegformerForImageClassification", {"depths": [1, 1, 1, 1]}, pixels(64)),
        ("wav2vec2", "Wav2Vec2Config", "Wav2Vec2ForSequenceClassification",
         {**small, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}, sound("input_values", 8000)),
        ("hubert", "HubertConfig", "HubertForSequenceClassification",
         {**small, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}, sound("input_values", 8000)),
        ("ast", "ASTConfig", "ASTForAudioClassification", {**small, "max_length": 128, "num_mel_bins": 32},
         sound("input_values", 128, 32)),
        ("whisper_encoder", "WhisperConfig", "WhisperForAudioClassification",
         {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "num_mel_bins": 20,
          "max_source_positions": 50}, sound("input_features", 20, 100)),
    ]  # fmt: skip

    for name, config, kind, options, inputs in table:
        yield ZooModel(
            f"huggingface/{name}",
            functools.partial(_huggingface, t, kind, config, options),
            inputs,
        )


def _huggingface(transformers: Any, kind: str, config: str, options: dict[str, Any]) -> nn.Module:
    """A model of this kind, its weights at random."""
    built: nn.Module = getattr(transformers, kind)(getattr(transformers, config)(**options))
    return built


def zoo(which: str) -> list[ZooModel]:
    """The models of `torchvision`, `timm` or `huggingface`."""
    sources = {"torchvision": torchvision_models, "timm": timm_models, "huggingface": huggingface_models}
    return list(sources[which]())


def left_out(which: str) -> dict[str, str]:
    """Families of which no model is in the zoo, and why."""
    return _timm_families()[1] if which == "timm" else {}
