"""Two small real models, traced and profiled once for the whole floor."""

import pytest
import torch
from collabplan.graph import TracedGraph, trace
from collabplan.profilers import profile_model
from collabplan.records import Profile, TargetIdentity
from torch import Tensor, nn

TARGET = TargetIdentity(spec="tests")


class Block(nn.Module):
    """Two convolutions and a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv2(torch.relu(self.norm(self.conv1(x)))))


class ResidualNet(nn.Module):
    """Images [batch, 3, side, side] to logits [batch, 10]."""

    def __init__(self, channels: int = 8, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class TinyTransformer(nn.Module):
    """Token ids [batch, length] to logits [batch, length, words]; positions and mask name a device and a dtype."""

    def __init__(self, words: int = 20, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.words = nn.Embedding(words, width)
        self.places = nn.Embedding(32, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.words(ids) + self.places(torch.arange(length, device=ids.device))
        mask = torch.full((length, length), -10.0, dtype=torch.float32, device=ids.device).triu(1)
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.head(x + mixed.transpose(1, 2).reshape(batch, length, -1))


@pytest.fixture(scope="session")
def residual() -> TracedGraph:
    torch.manual_seed(0)
    return trace(ResidualNet(), torch.randn(1, 3, 16, 16))


@pytest.fixture(scope="session")
def transformer() -> TracedGraph:
    torch.manual_seed(0)
    return trace(TinyTransformer(), torch.randint(0, 20, (1, 6)))


@pytest.fixture(scope="session")
def target() -> TargetIdentity:
    return TARGET


@pytest.fixture(scope="session")
def profile(residual: TracedGraph) -> Profile:
    return profile_model(residual, target=TARGET, threads=1, batch=2, seconds=1.0, command=("collabplan", "profile"))
