"""An Inception-like network, small: two blocks of four branches, each joined by a concatenation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Branches of 1x1, 1x1-3x3, 1x1-3x3-3x3 and pooling-1x1, concatenated along the channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, width, 1)
        self.two_reduce = nn.Conv2d(channels, width, 1)
        self.two = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.three_reduce = nn.Conv2d(channels, 1, 1)
        self.three_a = nn.Conv2d(1, width, 3, padding=1)
        self.three_b = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.pool_project = nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        two = self.two(torch.relu(self.two_reduce(x)))
        three = self.three_b(torch.relu(self.three_a(torch.relu(self.three_reduce(x)))))
        pooled = self.pool_project(nn.functional.avg_pool2d(x, 3, 1, 1))
        return torch.relu(torch.cat([self.one(x), two, three, pooled], 1))


class Branchy(nn.Module):
    """`[N, 1, 8, 8]` to `[N, 10]`; a block's output has six times its width in channels."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6 * width, 3, padding=1)
        self.first, self.second = Block(6 * width, width), Block(6 * width, width)
        self.head = nn.Linear(6 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(torch.relu(self.stem(x)))).mean((2, 3)))
