"""Random module DAGs: branches, skips, several outputs, tied weights, in-place writes, `no_grad` blocks, views."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

CHANNELS = 4
SIZE = 4
OPERATIONS = (
    "conv", "norm", "relu_", "add", "cat", "dropout", "no_grad", "view", "transpose", "chunk", "tied", "buffer",
    "add_", "attention", "constant", "second_input",
)  # fmt: skip


class RandomModel(nn.Module):
    """A model of `steps` random operations on tensors `[batch, 4, 4, 4]`; the last few tensors are its outputs."""

    def __init__(self, seed: int, steps: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        self.steps: list[tuple[str, int, int]] = []
        for index in range(steps):
            recent = max(0, index - 3)
            operation = draw.choice(OPERATIONS)
            self.steps.append((operation, draw.randint(recent, index), draw.randint(0, index)))
        self.convs = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(steps))
        self.merges = nn.ModuleList(nn.Conv2d(2 * CHANNELS, CHANNELS, 1, bias=False) for _ in range(steps))
        self.norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in range(steps))
        self.tied_a = nn.Linear(SIZE, SIZE)
        self.tied_b = nn.Linear(SIZE, SIZE)
        self.tied_b.weight = self.tied_a.weight
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.offset: Tensor
        self.register_buffer("offset", torch.randn(CHANNELS, 1, 1, generator=generator), persistent=False)
        self.outputs = draw.randint(1, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
            for norm in self.norms:
                assert isinstance(norm.running_mean, Tensor)
                norm.running_mean.copy_(torch.randn(CHANNELS, generator=generator))

    def forward(self, x: Tensor, extra: Tensor | None = None) -> dict[str, Tensor | int | None]:
        made = [x]
        for index, (operation, first, second) in enumerate(self.steps):
            made.append(self.step(index, operation, made[first], made[second], extra))
        kept = {f"output_{index}": tensor for index, tensor in enumerate(made[-self.outputs :])}
        return {**kept, "nothing": None, "batch": x.shape[0]}

    def step(self, index: int, operation: str, a: Tensor, b: Tensor, extra: Tensor | None) -> Tensor:
        if operation == "conv":
            return self.convs[index](a)
        if operation == "norm":
            return self.norms[index](a)
        if operation == "relu_":
            return self.relu(a + 0.1)
        if operation == "add":
            return a + b
        if operation == "cat":
            return self.merges[index](torch.cat([a, b], dim=1))
        if operation == "dropout":
            return self.dropout(a) * 0.9
        if operation == "no_grad":
            with torch.no_grad():
                return torch.tanh(a)
        if operation == "view":
            return torch.sigmoid(a.view(a.shape[0], -1)).view(-1, CHANNELS, SIZE, SIZE)
        if operation == "transpose":
            return (a.transpose(1, 2) * 1.1).transpose(1, 2).contiguous().view(a.shape)
        if operation == "chunk":
            left, right = a.chunk(2, dim=1)
            return torch.cat([right, left * 0.5], dim=1)
        if operation == "tied":
            return self.tied_b(torch.relu(self.tied_a(a)))
        if operation == "buffer":
            return a * self.offset + torch.zeros_like(b)
        if operation == "add_":
            c = a * 0.7
            c += b
            c[:, 0] = 0.25
            c[:, 1] = b[:, 2]
            c[:, 2:] = a[:, :1]
            return c
        if operation == "attention":
            rows = a.flatten(2)
            scores = (rows @ rows.transpose(1, 2)).softmax(-1)
            return (scores @ rows).view_as(a)
        if operation == "constant":
            positions = torch.arange(a.shape[-1], dtype=a.dtype).expand(a.shape[0], 1, 1, -1)
            return a + 0.01 * positions
        return a if extra is None else a * extra[:, :, None, None]


def random_inputs(seed: int, batch: int) -> tuple[Tensor, Tensor]:
    """Inputs of a RandomModel: images and one factor per channel."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, CHANNELS, SIZE, SIZE, generator=generator),
        torch.rand(batch, CHANNELS, generator=generator),
    )
