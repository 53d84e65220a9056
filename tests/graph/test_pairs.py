"""Models that compute with complex numbers: bit for bit at every cut, also saved, and real pairs cross."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from collabplan.estimators.secrets import private_inputs
from collabplan.graph import (
    Cut,
    TracedGraph,
    candidate_cuts,
    dead_gradients,
    load_program,
    same_values,
    save_program,
    split,
    trace,
)
from collabplan.records import CollabplanError
from collabplan.targets import Data, InputScaling
from torch import Tensor, nn
from torch.fft import fft, ifft, irfft, rfft

WEIGHT = torch.randn(8, 8, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
TURN = torch.polar(torch.ones(4), torch.arange(4.0))


def filled(y: Tensor) -> Tensor:
    z = torch.zeros(y.shape[0], 8, dtype=torch.complex64)
    z[:, :4] = torch.complex(y[:, :4], y[:, 4:])
    z[:, 4:].imag.copy_(y[:, :4])
    z[:, 0] += 1j
    return z


def half_turned(y: Tensor) -> Tensor:
    z = fft(y).clone()
    z[:, 2:5] = z[:, 2:5].conj()
    z.real = z.real * 2
    return z


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "a filter": lambda y: irfft(rfft(y) * WEIGHT[0, :5], n=8),
    "token mixing": lambda y: torch.fft.fft2(y.view(-1, 2, 4)).real.flatten(1),
    "rotary": lambda y: torch.view_as_real(torch.view_as_complex(y.view(-1, 4, 2)) * TURN).flatten(1),
    "rotary back": lambda y: torch.view_as_real(torch.view_as_complex(y.view(-1, 4, 2)) * TURN.conj()).flatten(1),
    "least of all": lambda y: fft(y).abs() - fft(y).abs().min(-1, keepdim=True)[0],
    "slices": lambda y: filled(y).abs(),
    "conjugated slices": lambda y: half_turned(y).abs(),
    "power spectrum": lambda y: ifft(fft(y).conj() * fft(y)).real,
    "hermitian weight": lambda y: (fft(y) @ WEIGHT.mH).imag,
    "conjugate as it is": lambda y: -fft(y).conj().imag + torch.view_as_real(fft(y).conj().resolve_conj()).sum(-1),
    "conjugate in memory": lambda y: torch.conj_physical(fft(y)).real,
    "polar": lambda y: torch.polar(y.abs() + 1, y).real,
    "linear": lambda y: nn.functional.linear(y.to(torch.complex64), WEIGHT).abs(),
    "branches": lambda y: torch.cat([fft(y)[:, :4], fft(y)[:, 4:].conj()], 1).imag,
    "each part through relu": lambda y: torch.complex(fft(y).real.relu(), fft(y).imag.relu()).abs(),
}


class Between(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.function, self.last = nn.Linear(8, 8), function, nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(torch.tanh(self.first(x))))


def composed(traced: TracedGraph, cut: Cut, x: Tensor, folder: Path) -> tuple[object, object]:
    """The halves' output, and that of the halves when saved and loaded."""
    halves = split(traced, cut)
    for name in ("edge", "cloud"):
        save_program(getattr(halves, name), folder / name)
    with torch.no_grad():
        return halves.cloud(*halves.edge(x)), load_program(folder / "cloud")(*load_program(folder / "edge")(x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_cut_is_bit_exact_and_lets_real_numbers_cross(name: str, tmp_path: Path) -> None:
    model = Between(FUNCTIONS[name])
    traced, x = trace(model, torch.randn(2, 8)), torch.randn(3, 8)
    assert traced.dynamic_batch
    with torch.no_grad():
        whole = model(x)
    cuts = candidate_cuts(traced)
    assert len(cuts) > 4
    for cut in cuts:
        assert cut.searchable
        assert not any(crossing.is_complex for crossing in cut.crossing)
        assert all(same_values(got, whole) for got in composed(traced, cut, x, tmp_path))


def test_a_complex_crossing_is_its_pairs() -> None:
    traced = trace(Between(FUNCTIONS["a filter"]), torch.randn(2, 8))
    shapes = [c.sample_shape for cut in candidate_cuts(traced) for c in cut.crossing if "view_as_real" in c.name]
    assert shapes == [(5, 2), (5, 2)]
    assert dead_gradients(traced, candidate_cuts(traced)) == {}


class Conjugates(nn.Module):
    """A weight, and its conjugate, which is a view of the same memory."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(8, 8, dtype=torch.complex64)
        self.register_buffer("weight", weight)
        self.register_buffer("conjugate", weight.conj())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"product": (x @ self.weight + 1) @ self.conjugate, "size": (x @ self.conjugate).abs()}


def test_a_weight_and_its_conjugate_are_two_and_complex_inputs_and_outputs_pass(tmp_path: Path) -> None:
    model = Conjugates()
    traced = trace(model, torch.randn(2, 8, dtype=torch.complex64))
    for x in (torch.randn(3, 8, dtype=torch.complex64), torch.randn(3, 8, dtype=torch.complex64).conj()):
        for cut in candidate_cuts(traced):
            halves = split(traced, cut)
            assert same_values(halves.cloud(*halves.edge(x)), model(x))
            assert all(same_values(got, model(x)) for got in composed(traced, cut, x.resolve_conj(), tmp_path))


def test_a_complex_input_is_the_raw_input_also_as_pairs() -> None:
    class Read(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.relu(torch.view_as_real(z) * 2)

    traced = trace(Read(), torch.randn(2, 8, dtype=torch.complex64))
    raw = {cut.name: cut.sends_raw_input for cut in candidate_cuts(traced)}
    assert raw == {"cloud-only": True, "view_as_real": True, "mul": False, "edge-only": False}


def test_leakage_about_a_complex_input_is_refused_and_not_measured_by_its_real_part() -> None:
    traced = trace(Conjugates(), torch.randn(2, 8, dtype=torch.complex64))
    data = Data((torch.randn(30, 8, dtype=torch.complex64),))
    with pytest.raises(CollabplanError, match=r"is complex.*view_as_complex"):
        private_inputs(data, traced, InputScaling.from_range(0, 1))
