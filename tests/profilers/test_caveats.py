"""What the reader of a profile is warned of."""

import torch
from collabplan.graph import candidate_cuts, trace
from collabplan.profilers import profile_model
from collabplan.profilers.caveats import conversion_warning, gradient_warnings, measurement_warnings
from collabplan.profilers.cut_timings import CutTiming, CutTimings
from collabplan.records import TargetIdentity, Timing
from torch import Tensor, nn


def timing(p50_ms: float, iqr_ms: float) -> Timing:
    return Timing(p50_ms=p50_ms, p95_ms=2 * p50_ms, iqr_ms=iqr_ms, samples_ms=(p50_ms,))


def test_scatter_load_and_interpolation_are_warned_of() -> None:
    steady, wide = timing(1.0, 0.05), timing(1.0, 0.2)
    calm = CutTimings(steady, {"a": CutTiming(steady, steady, interpolated=False)})
    assert measurement_warnings(calm, {"a": "layer1"}, {"conv": steady, "tiny": timing(0.001, 0.001)}, load=0.0) == []
    rough = CutTimings(
        timing(2.0, 1.0), {"a": CutTiming(wide, steady, False), "b": CutTiming(steady, wide, interpolated=True)}
    )
    text = "\n".join(measurement_warnings(rough, {"a": "layer1", "b": "fc"}, {"conv": wide}, load=1e3))
    for part in (
        "load average was 1000.0",
        "the whole model scatters",
        "1 of 2 halves",
        "layer1 (edge)",
        "1 of 1 nodes",
    ):
        assert part in text
    assert "1 of 2 cuts were not measured" in text


def test_time_and_runs_that_other_programs_took_are_warned_of() -> None:
    steady = timing(1.0, 0.05)
    disturbed = steady.model_copy(update={"disturbed_ms": (30.0, 40.0)})
    timings = CutTimings(disturbed, {"a": CutTiming(steady, disturbed.model_copy(), interpolated=False)})
    text = "\n".join(measurement_warnings(timings, {"a": "layer1"}, {}, load=0.0, waited_share=0.6))
    assert "60% of the time of all runs other programs had the core" in text
    assert "4 of 7 runs took far longer than the quick ones and are not counted" in text
    calm = CutTimings(steady, {"a": CutTiming(steady, steady, interpolated=False)})
    assert measurement_warnings(calm, {"a": "layer1"}, {}, load=0.0, waited_share=0.04) == []


class Hard(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.embedding(x.argmax(-1)))


def test_a_crossing_that_no_gradient_reaches_is_warned_of(target: TargetIdentity) -> None:
    profile = profile_model(trace(Hard(), torch.randn(1, 4)), target=target, seconds=0.2)
    (warning,) = [warning for warning in profile.warnings if "gradients end at aten.argmax" in warning]
    assert "embedding, relu; attacks that follow gradients, and dFIL, are not computable there" in warning


def test_more_crossings_than_are_named_are_counted() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.layers = nn.Embedding(4, 3), nn.Sequential(*(nn.Linear(3, 3) for _ in range(6)))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(self.embedding(x.argmax(-1)))

    traced = trace(Deep(), torch.randn(1, 4))
    (warning,) = gradient_warnings(traced, candidate_cuts(traced))
    assert "embedding, layers.0, layers.1, layers.2 and 3 more; attacks" in warning


def test_a_converted_copy_is_named_with_the_models_own_dtype() -> None:
    assert conversion_warning("bfloat16", "float32").startswith("measured was a copy in bfloat16; the model itself")
