"""An estimator of somebody else's: the Gaussian formula in a few principal components, without shrinkage."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from collabplan.estimators import Channel, Estimate
from collabplan.records import CollabplanError


@dataclass(frozen=True)
class PlainGaussian:
    revision: ClassVar[int] = 1
    components: int = 8
    name: str = "plain-gaussian"

    def estimate(self, channel: Channel, generator: torch.Generator) -> Estimate:  # noqa: ARG002
        if len(channel) < 2:
            raise CollabplanError(f"{self.name} needs at least 2 samples, got {len(channel)}; give more data")
        value = 0.0
        if bool(channel.distances.any()):
            rows = channel.components(self.components)
            value = float(torch.linalg.slogdet(torch.eye(rows.shape[1]) + rows.T @ rows / len(rows)).logabsdet) / 2
        return Estimate(
            value, None, None, meaning="surrogate", saturated=False, samples=len(channel),
            assumes="Gaussian activations in few components",
        )  # fmt: skip
