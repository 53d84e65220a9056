"""The profile record as a whole, on two small real models."""

import copy
from pathlib import Path

import pytest
import torch
from collabplan.graph import TracedGraph, candidate_cuts, trace
from collabplan.profilers import energy, profile_model
from collabplan.records import CollabplanError, Profile, TargetIdentity, load, save
from torch import Tensor, nn


def test_the_profile_survives_the_file(profile: Profile, tmp_path: Path) -> None:
    save(profile, tmp_path / "profile.json")
    assert load(Profile, tmp_path / "profile.json") == profile


def test_it_names_model_machine_and_command(profile: Profile, residual: TracedGraph) -> None:
    assert profile.model == residual.identity
    assert (profile.batch, profile.dtype, profile.role) == (2, "float32", "both")
    assert (profile.device.device, profile.device.threads) == ("cpu", 1)
    assert profile.device.load_average is None or profile.device.load_average >= 0
    assert profile.provenance.command == ("collabplan", "profile")
    assert profile.peak_memory_method == "liveness"


def test_it_has_the_cuts_of_the_graph_in_order(profile: Profile, residual: TracedGraph) -> None:
    assert [cut.id for cut in profile.cuts] == [cut.id for cut in candidate_cuts(residual)]
    assert [cut.payload_bytes for cut in profile.cuts] == [cut.payload_bytes for cut in candidate_cuts(residual)]
    assert profile.cuts[0].kind == "cloud-only"
    assert profile.cuts[-1].kind == "edge-only"


def test_what_the_edge_holds_grows_with_depth(profile: Profile) -> None:
    for one, other in zip(profile.cuts, profile.cuts[1:], strict=False):
        assert one.edge_parameter_count <= other.edge_parameter_count
    assert profile.cuts[0].edge_parameter_count == 0
    assert profile.cuts[0].edge_peak_bytes == 2 * 3 * 16 * 16 * 4
    assert profile.cuts[-1].edge_parameter_bytes == profile.model.parameter_bytes


def test_bytes_of_a_sample_do_not_depend_on_the_batch(profile: Profile) -> None:
    assert profile.sample_input_bytes == 3 * 16 * 16 * 4
    assert profile.sample_output_bytes == 10 * 4


def test_one_unknown_operator_makes_the_sum_of_flops_unknown(profile: Profile) -> None:
    stem = next(cut for cut in profile.cuts if cut.name == "stem")
    assert stem.edge_flops == stem.edge_flops_counted == 2 * (2 * 16 * 16 * 3 * 8 * 9)
    whole = profile.cuts[-1]
    assert whole.edge_flops is None
    assert whole.edge_flops_counted == sum(node.flops or 0 for node in profile.nodes)


def test_the_users_model_is_left_as_it_was(target: TargetIdentity) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).train()
    before = copy.deepcopy(model.state_dict())
    profile = profile_model(
        trace(model, torch.ones(1, 4)), target=target, dtype="bfloat16", threads=1, seconds=0.2, command=()
    )
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {crossing.dtype for cut in profile.cuts for crossing in cut.crossing} == {"bfloat16"}
    assert profile.sample_input_bytes == 4 * 2


def test_a_transformer_with_integer_inputs(transformer: TracedGraph, target: TargetIdentity) -> None:
    profile = profile_model(transformer, target=target, threads=1, batch=3, seconds=0.5, command=())
    assert profile.sample_input_bytes == 6 * 8
    assert all(cut.edge is not None or cut.kind == "cloud-only" for cut in profile.cuts)


def test_progress_is_told_in_order(residual: TracedGraph, target: TargetIdentity) -> None:
    told: list[tuple[str, float]] = []
    profile_model(
        residual,
        target=target,
        threads=1,
        seconds=0.3,
        on_progress=lambda what, done: told.append((what, done)),
        command=(),
    )
    assert list(dict(told)) == ["finding cuts", "nodes", "cuts", "power"]
    assert all(0 <= done <= 1 for _, done in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"role": "device"}, "unknown role 'device'"),
        ({"threads": 0}, "0 threads"),
        ({"seconds": 0.0}, "0.0 seconds"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"batch": -1}, "batch -1"),
    ],
)
def test_bad_options_are_one_clear_line(
    residual: TracedGraph, target: TargetIdentity, options: dict[str, object], message: str
) -> None:
    with pytest.raises(CollabplanError, match=message) as raised:
        profile_model(residual, target=target, **options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


class OnlyFloat32(nn.Module):
    """An operator that float16 lacks on every device."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.inv(x)


def test_an_operator_that_the_dtype_lacks_is_one_clear_line(target: TargetIdentity) -> None:
    traced = trace(OnlyFloat32(), torch.eye(3)[None])
    with pytest.raises(CollabplanError, match="does not run in float16 on cpu at batch 1") as raised:
        profile_model(traced, target=target, dtype="float16")
    assert "\n" not in str(raised.value)


def test_power_is_in_the_record_or_the_reason_why_not(
    residual: TracedGraph, target: TargetIdentity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    joules = iter(range(0, 1000, 5))
    monkeypatch.setattr(energy, "SECONDS", 0.05)
    monkeypatch.setattr(energy, "read_powercap", lambda _root: {"intel-rapl:0": energy.Count(next(joules))})
    made = profile_model(residual, target=target, threads=1, seconds=0.2)
    assert made.power is not None
    assert made.power.source == "powercap"
    assert made.power.watts == pytest.approx(5 / made.power.seconds)
    assert made.power_missing is None
    save(made, tmp_path / "profile.json")
    assert load(Profile, tmp_path / "profile.json") == made

    monkeypatch.undo()
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    without = profile_model(residual, target=target, threads=1, seconds=0.2)
    assert without.power is None
    assert without.power_missing is not None
    assert "has no processor package" in without.power_missing


def test_an_older_profile_is_read_without_power(profile: Profile) -> None:
    older = profile.model_dump(mode="json")
    del older["power"], older["power_missing"]
    assert Profile.model_validate(older).power is None
