"""The critic of MINE: optimal for Gaussians where it starts, and a network that learns the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WIDTH = 128
BATCH = 256
SHUFFLES = 8
"""Products of the marginals per step: the batch against itself, shifted SHUFFLES times."""

STEPS = 3000
JUDGED_EVERY = 100
PATIENCE = 5
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-3
MOVING_AVERAGE = 0.95


@dataclass(frozen=True, eq=False)
class CanonicalFrame:
    """Canonical coordinates of both sides, and the correlations that exceed noise.

    Attributes:
        x_map: `[dx, r]`.
        t_map: `[dt, r]`.
        correlations: `[k]`, the greatest first.
    """

    x_map: Tensor
    t_map: Tensor
    correlations: Tensor

    @classmethod
    def of(cls, x: Tensor, t: Tensor) -> CanonicalFrame:
        """Of paired samples `[N, dx]` and `[N, dt]`, float64."""
        count = x.shape[0]
        x_white, t_white = _whitening(x), _whitening(t)
        left, found, right = torch.linalg.svd((x @ x_white).T @ (t @ t_white) / count)
        p, q = x_white.shape[1] / count, t_white.shape[1] / count
        # Independent samples show canonical correlations up to about sqrt(p) + sqrt(q) (Wachter 1980).
        kept = found[found > min(math.sqrt(p) + math.sqrt(q) + 0.02, 0.99)].clamp(max=1 - 1e-6)
        unbiased = ((kept.square() - p - q) / max(1 - p - q, 0.1)).clamp(min=1e-4)
        return cls(x_white @ left, t_white @ right.T, unbiased.sqrt())

    def of_x(self, x: Tensor) -> Tensor:
        """X `[N, dx]` in canonical coordinates, `[N, r]` float32."""
        return (x @ self.x_map).float()

    def of_t(self, t: Tensor) -> Tensor:
        """T `[N, dt]` in canonical coordinates, `[N, r]` float32."""
        return (t @ self.t_map).float()


def _whitening(values: Tensor) -> Tensor:
    eigenvalues, vectors = torch.linalg.eigh(values.T @ values / values.shape[0])
    kept = eigenvalues > 1e-6 * eigenvalues[-1]
    whitening: Tensor = vectors[:, kept] * eigenvalues[kept].rsqrt()
    return whitening


class Critic(nn.Module):
    """The Gaussian log-density ratio of the canonical pairs, plus a network that starts at 0.

    Args:
        frame: canonical coordinates.
        generator: of the initial weights; on the CPU.
    """

    def __init__(self, frame: CanonicalFrame, generator: torch.Generator) -> None:
        super().__init__()

        def weights(rows: int, columns: int, gain: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * math.sqrt(gain / columns))

        squared = frame.correlations.square()
        self.product = nn.Parameter((frame.correlations / (1 - squared)).float())
        self.square = nn.Parameter((squared / (2 * (1 - squared))).float())
        self.from_x = weights(WIDTH, frame.x_map.shape[1], 1.0)
        self.from_t = weights(WIDTH, frame.t_map.shape[1], 1.0)
        self.bias = nn.Parameter(torch.randn(WIDTH, generator=generator) * 0.5)
        self.hidden = weights(WIDTH, WIDTH, 2.0)
        self.hidden_bias = nn.Parameter(torch.zeros(WIDTH))
        self.out = nn.Parameter(torch.zeros(WIDTH))

    def gaussian_parameters(self) -> list[nn.Parameter]:
        """Parameters that are right from the start, and are not decayed."""
        return [self.product, self.square]

    def shifted(self, u: Tensor, v: Tensor, shifts: Sequence[int]) -> Tensor:
        """`[S, n]`: f(u_i, v_(i - shift)) for each shift; 0 gives the pairs themselves."""
        pairs = len(self.product)
        from_u, from_v = u @ self.from_x.T + self.bias, v @ self.from_t.T
        values = []
        for shift in shifts:
            other = v.roll(shift, 0)[:, :pairs]
            own = u[:, :pairs]
            gaussian = (own * other) @ self.product - (own.square() + other.square()) @ self.square
            hidden = torch.relu(from_u + from_v.roll(shift, 0))
            hidden = torch.relu(nn.functional.linear(hidden, self.hidden, self.hidden_bias))
            values.append(gaussian + hidden @ self.out)
        return torch.stack(values)


def train_critic(
    frame: CanonicalFrame, u: Tensor, v: Tensor, fit: Tensor, check: Tensor, generator: torch.Generator, steps: int
) -> Critic:
    """A critic fitted to some samples, and stopped where it does best on others.

    Args:
        frame: canonical coordinates.
        u: `[N, r]`, X in canonical coordinates.
        v: `[N, r]`, T in canonical coordinates.
        fit: positions of the samples to fit.
        check: positions of the samples for early stopping.
        generator: of weights and batches; on the CPU.
        steps: at most.
    """
    critic = Critic(frame, generator)
    gaussian = critic.gaussian_parameters()
    network = [p for p in critic.parameters() if not any(p is known for known in gaussian)]
    optimizer = torch.optim.AdamW(
        [{"params": gaussian, "weight_decay": 0.0}, {"params": network, "weight_decay": WEIGHT_DECAY}], lr=LEARNING_RATE
    )
    own_u, own_v, check_u, check_v = u[fit], v[fit], u[check], v[check]
    batch = min(BATCH, len(fit))
    best, kept, waited, average = held_out_bound([critic], check_u, check_v), _state(critic), 0, None
    for step in range(steps):
        for group in optimizer.param_groups:
            warm, cool = min(1.0, (step + 1) / 100), (1 + math.cos(math.pi * step / steps)) / 2
            group["lr"] = LEARNING_RATE * warm * (cool + 0.02)
        chosen = torch.randint(len(fit), (batch,), generator=generator)
        shifts = (torch.randperm(batch - 1, generator=generator)[:SHUFFLES] + 1).tolist()
        loss, average = _loss(critic.shifted(own_u[chosen], own_v[chosen], [0, *shifts]), average)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(critic.parameters(), 5.0)
        optimizer.step()
        if (step + 1) % JUDGED_EVERY == 0:
            found = held_out_bound([critic], check_u, check_v)
            if found > best + 1e-4:
                best, kept, waited = found, _state(critic), 0
            else:
                waited += 1
                if waited >= PATIENCE:
                    break
    critic.load_state_dict(kept)
    return critic


def _loss(values: Tensor, average: Tensor | None) -> tuple[Tensor, Tensor]:
    """The loss with the bias-corrected gradient (eq. 12), and the moving average of its denominator's logarithm.

    Args:
        values: `[1 + SHUFFLES, n]`, f of the pairs themselves, then of the shifted ones.
        average: that of the step before.
    """
    log_mean = torch.logsumexp(values[1:].flatten(), dim=0) - math.log(values[1:].numel())
    now = log_mean.detach()
    if average is None:
        average = now
    else:
        average = torch.logaddexp(average + math.log(MOVING_AVERAGE), now + math.log(1 - MOVING_AVERAGE))
    return torch.exp(log_mean - average) - values[0].mean(), average


def _state(critic: Critic) -> dict[str, Tensor]:
    return {name: values.clone() for name, values in critic.state_dict().items()}


def held_out_bound(critics: Sequence[Critic], u: Tensor, v: Tensor) -> float:
    """The Donsker-Varadhan bound on samples that the critics were not fitted to; -inf if it is not finite."""
    joint, ratio = evaluate(critics, u, v, 64)
    value = float(joint.mean() - torch.logsumexp(ratio, dim=0) + math.log(len(ratio)))
    return value if math.isfinite(value) else -math.inf


def evaluate(critics: Sequence[Critic], u: Tensor, v: Tensor, shifts: int) -> tuple[Tensor, Tensor]:
    """Per sample `[n]` float64: f of its own pair, and ln of the mean of exp f with `shifts` other samples."""
    count = len(u)
    others = sorted(set(torch.linspace(1, count - 1, min(shifts, count - 1)).round().int().tolist()))
    with torch.no_grad():
        joint = torch.stack([critic.shifted(u, v, [0])[0] for critic in critics]).mean(dim=0)
        total = torch.full((count,), -math.inf, dtype=torch.float64)
        for start in range(0, len(others), 16):
            some = others[start : start + 16]
            values = torch.stack([critic.shifted(u, v, some) for critic in critics]).mean(dim=0)
            total = torch.logaddexp(total, torch.logsumexp(values.double(), dim=0))
    return joint.double(), total - math.log(len(others))
