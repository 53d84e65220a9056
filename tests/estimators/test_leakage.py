"""The leakage index against what is known: nothing, everything, and what a primal ridge finds."""

import pytest
import torch
from collabplan.defenses import Defense
from collabplan.estimators import Components, CutLeakage, by_definition, estimate_leakage, estimator_named
from collabplan.records import CollabplanError, Crossing
from defense_records import defense_record


def images(count=300, width=64, rank=12, seed=1):
    """Smooth-ish inputs in [0, 1] of a known rank, plus a little of everything."""
    source = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, rank, generator=source) @ torch.randn(rank, width, generator=source)
    mixed = mixed + 0.1 * torch.randn(count, width, generator=source)
    return ((mixed - mixed.min()) / (mixed.max() - mixed.min())).float()


def measure(rows, inputs, defense, cut_of, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return estimate_leakage([rows], inputs, defense, cut_of(defense), generator=generator)


@pytest.mark.parametrize("dropout", ["none", "element", "channel"])
@pytest.mark.parametrize("constant", [0.0, 3.7, -2.1])
@pytest.mark.parametrize("bits", [8, None])
def test_a_constant_release_leaks_exactly_nothing(defend, cut_of, dropout, constant, bits):
    inputs = images(60)
    rows = torch.full((60, 5, 3), constant)
    rate = 0.0 if dropout == "none" else 0.5
    found = measure(rows, inputs, defend(rows, dropout=dropout, rate=rate, bits=bits), cut_of)
    assert (found.index.low, found.index.value, found.index.high) == (0, 0, 0)
    assert found.information_high_nats == 0


def test_the_identity_cut_leaks_everything(defend, cut_of):
    inputs = images()
    found = measure(inputs, inputs, defend(inputs), cut_of)
    assert found.index.value > 0.99
    assert found.status == "estimated"
    assert found.saturated


@pytest.mark.parametrize("dropout", ["none", "element", "channel"])
def test_shuffled_and_independent_pairs_leak_nothing(defend, cut_of, dropout):
    inputs = images()
    rate = 0.0 if dropout == "none" else 0.4
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(5))
    for rows in (inputs[order].reshape(-1, 8, 8), torch.randn(len(inputs), 8, 8)):
        found = measure(rows, inputs, defend(rows, dropout=dropout, rate=rate), cut_of)
        assert found.index.value <= 0.02


@pytest.mark.parametrize("dropout", ["element", "channel"])
def test_the_index_falls_with_the_rate(defend, cut_of, dropout):
    inputs = images()
    rows = torch.relu(inputs @ torch.randn(64, 128, generator=torch.Generator().manual_seed(2))).reshape(-1, 32, 4)
    found = [
        measure(rows, inputs, defend(rows, dropout=dropout, rate=rate), cut_of).index.value for rate in (0.1, 0.5, 0.9)
    ]
    assert found[0] > found[1] > found[2] > 0


def test_the_attacker_is_not_weaker_than_a_plain_ridge_on_released_rows(defend, cut_of, generator):
    """An over-optimistic figure is the worst bug: the textbook attacker even chooses its penalty on the test set."""
    inputs = images(400)
    rows = torch.relu(inputs @ torch.randn(64, 96, generator=generator) / 8)
    defense = defend(rows, dropout="element", rate=0.7)
    (seen,) = defense.observed(defense.release([rows], generator))
    train, test = slice(0, 320), slice(320, 400)
    features, targets = (seen[train] - seen[train].mean(0)).double(), (inputs[train] - inputs[train].mean(0)).double()
    best = 0.0
    for penalty in torch.logspace(-6, 2, 17, dtype=torch.float64):
        normal = features.T @ features + penalty * 320 * torch.eye(96, dtype=torch.float64)
        guess = (seen[test] - seen[train].mean(0)).double() @ torch.linalg.solve(normal, features.T @ targets)
        wanted = (inputs[test] - inputs[train].mean(0)).double()
        best = max(best, float(1 - (guess - wanted).square().sum() / wanted.square().sum()))
    found = measure(rows, inputs, defense, cut_of)
    assert found.index.value > best


def test_what_is_not_linear_is_found_by_the_gaussian_kernel(defend, cut_of, generator):
    inputs = torch.rand(600, 1, generator=generator)
    rows = torch.cat([torch.sin(6 * inputs), torch.cos(6 * inputs)], dim=1)
    assert measure(rows, inputs, defend(rows), cut_of).index.value > 0.8


def test_several_tensors_leak_together_each_in_its_own_step(cut_of):
    inputs = images()
    small, large = inputs[:, :32] * 1e-4, inputs[:, 32:] * 1e4
    spec = defense_record()
    crossed = tuple(Crossing(name=n, node=n, dtype="float32", sample_shape=(32,)) for n in ("small", "large"))
    defense = Defense(spec, crossed).calibrate([small, large])
    found = estimate_leakage(
        [small, large], inputs, defense, cut_of(defense), generator=torch.Generator().manual_seed(0)
    )
    assert found.index.value > 0.98


def test_a_private_integer_crossing_counts_although_it_cannot_be_defended(crossing, cut_of):
    inputs = images()
    noise = torch.randn(len(inputs), 10)
    codes = (inputs * 255).round().long()
    defense = Defense(
        defense_record(dropout="element", rate=0.9), (crossing(noise, "noise"), crossing(codes, "codes"))
    ).calibrate([noise, codes])
    found = estimate_leakage(
        [noise, codes], inputs, defense, cut_of(defense), generator=torch.Generator().manual_seed(0)
    )
    assert found.index.value > 0.9


def test_the_input_that_leaks_most_counts(defend, cut_of):
    loud, quiet = images(seed=1), 0.5 + 0.01 * (images(seed=2) - 0.5)
    rows = quiet * 100
    found = measure(rows, [loud, quiet], defend(rows), cut_of)
    assert found.index.value > 0.9


def test_raw_inputs_and_empty_cuts_are_settled_by_definition(crossing, cut_of):
    h = torch.randn(30, 4)
    raw = Defense(defense_record(dropout="element", rate=0.9), (crossing(h, raw_input=True),))
    public = Defense(defense_record(), (crossing(h, public=True),))
    plain = Defense(defense_record(), (crossing(h),))
    assert by_definition(cut_of(raw)).index.low == 1
    assert by_definition(cut_of(public)).index.high == 0
    assert by_definition(cut_of(plain, "edge-only")).index.high == 0
    assert by_definition(cut_of(plain, "edge-only"), result_at="cloud") is None
    assert by_definition(cut_of(plain)) is None


def test_components_keep_every_distance():
    for width in (20, 700):
        inputs = images(80, width)
        (scores,) = Components.of(inputs).scores
        assert scores.shape[1] <= 80
        assert torch.allclose(torch.cdist(scores, scores), torch.cdist(inputs.double(), inputs.double()), atol=1e-4)


def test_the_same_seed_gives_the_same_figures(defend, cut_of):
    inputs = images(100)
    defense = defend(inputs, dropout="element", rate=0.5)
    assert measure(inputs, inputs, defense, cut_of) == measure(inputs, inputs, defense, cut_of)


def test_what_cannot_be_measured_is_refused(defend, cut_of):
    inputs = images(60)
    defense = defend(inputs)
    with pytest.raises(CollabplanError, match="NaN"):
        measure(inputs.clone().fill_(float("nan")), inputs, defense, cut_of)
    with pytest.raises(CollabplanError, match=r"\[0, 1\]"):
        measure(inputs, inputs * 255, defense, cut_of)
    with pytest.raises(CollabplanError, match="nothing to reconstruct"):
        measure(inputs, torch.zeros_like(inputs), defense, cut_of)
    with pytest.raises(CollabplanError, match="at least 20"):
        measure(inputs[:10], inputs[:10], defense, cut_of)
    with pytest.raises(CollabplanError, match="expected \\(30, 64\\)"):
        measure(inputs, inputs[:30], defense, cut_of)


def shared_leakage(rows, inputs, cut_of, **spec):
    """`CutLeakage` of rows, and a maker of defenses of `spec` over them."""
    crossed = tuple(
        Crossing(name=f"t{i}", node=f"t{i}", dtype="float32", sample_shape=tuple(row.shape[1:]))
        for i, row in enumerate(rows)
    )

    def defense(**more):
        return Defense(defense_record(**{**spec, **more}), crossed).calibrate(rows)

    return CutLeakage(rows, Components.of(inputs), cut_of(defense()), rates=(0.0, 0.5, 0.9)), defense


def test_what_defenses_share_does_not_depend_on_their_order(cut_of):
    inputs = images()
    rows = [torch.relu(inputs @ torch.randn(64, 128, generator=torch.Generator().manual_seed(2)))]
    found = []
    for rates in ((0.0, 0.5, 0.9), (0.9, 0.5, 0.0)):
        shared, defense = shared_leakage(rows, inputs, cut_of)
        by_rate = {
            rate: shared.under(
                defense(dropout="element" if rate else "none", rate=rate), generator=torch.Generator().manual_seed(1)
            )
            for rate in rates
        }
        found.append([by_rate[rate] for rate in (0.0, 0.5, 0.9)])
    assert found[0] == found[1]


def test_real_noise_bounds_information_and_reidentification(cut_of):
    inputs = images()
    rows = [inputs @ torch.randn(64, 128, generator=torch.Generator().manual_seed(2))]
    shared, defense = shared_leakage(rows, inputs, cut_of)
    estimators = [estimator_named(name) for name in ("kde", "sandwich", "logdet")]
    found = [
        shared.under(
            defense(noise="gaussian", noise_std=std), generator=torch.Generator().manual_seed(0), estimators=estimators
        )
        for std in (0.05, 0.5, 3.0)
    ]
    assert all(item.information_is == "bound" for item in found)
    assert found[0].saturated
    assert not found[2].saturated
    assert found[0].information_high_nats > found[1].information_high_nats > found[2].information_high_nats
    assert found[0].index.value > found[1].index.value > found[2].index.value
    assert found[0].reidentification_ceiling > 0.99
    assert found[2].reidentification_ceiling < 0.5
    assert found[0].resolvable_noise == pytest.approx(10 * found[1].resolvable_noise, rel=0.02)
    assert [item.estimator for item in found[2].estimates] == ["kde", "sandwich", "logdet"]
    assert found[2].estimates[1].upper_nats == found[2].information_high_nats


def test_at_a_quantizers_floor_nothing_is_a_bound_and_nobody_is_promised_anything(cut_of):
    inputs = images()
    shared, defense = shared_leakage([inputs], inputs, cut_of)
    found = shared.under(defense(), generator=torch.Generator().manual_seed(0))
    assert found.information_is == "surrogate"
    assert found.saturated
    assert found.reidentification_ceiling is None
    assert found.resolvable_noise > 1
    assert "surrogate" in found.noise_floor


def test_laplace_noise_gives_a_ceiling_but_its_sandwich_is_a_surrogate(cut_of):
    inputs = images()
    shared, defense = shared_leakage([inputs], inputs, cut_of)
    found = shared.under(defense(noise="laplace", noise_std=5.0), generator=torch.Generator().manual_seed(0))
    assert found.information_is == "surrogate"
    assert found.reidentification_ceiling < 1


def test_stochastic_rounding_is_bounded_by_its_exact_mass(cut_of):
    inputs = images(width=16)
    shared, defense = shared_leakage([inputs], inputs, cut_of, rounding="stochastic")
    coarse, fine = (shared.under(defense(bits=bits), generator=torch.Generator().manual_seed(0)) for bits in (1, 8))
    assert coarse.information_is == "bound"
    assert 0 < coarse.information_low_nats < coarse.information_high_nats < 4
    assert fine.saturated
    assert fine.index.value > coarse.index.value


def test_without_the_ridge_the_worst_is_assumed(cut_of):
    inputs = images()
    shared, defense = shared_leakage([inputs], inputs, cut_of)
    found = shared.under(defense(), generator=torch.Generator().manual_seed(0), ridge=False)
    assert (found.status, found.index.value, found.index_by_samples) == ("unmeasured", 1.0, ())


def test_the_mask_is_known_to_the_attacker(cut_of):
    """Where every zero is a dropped element, an attacker fits what is left: half of twofold features lose nothing."""
    inputs = images(width=40) * 0.5 + 0.25
    rows = [torch.cat([inputs] * 60, dim=1)]
    shared, defense = shared_leakage(rows, inputs, cut_of)
    found = shared.under(defense(dropout="element", rate=0.5), generator=torch.Generator().manual_seed(0))
    assert found.index.value > 0.98


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spec", [{}, {"bits": None}, {"bits": None, "noise": "gaussian", "noise_std": 0.05}])
def test_half_precision_whose_sum_overflows_is_measured_like_the_same_numbers_in_float32(defend, cut_of, dtype, spec):
    inputs = images(200)
    rows = (11.6 * inputs.repeat(1, 8).reshape(200, 8, 64)).to(dtype)
    assert not torch.isfinite(rows.to(torch.float16).sum(dtype=torch.float16))
    found, wide = (measure(each, inputs, defend(each, **spec), cut_of) for each in (rows, rows.float()))
    assert found.index.value == pytest.approx(wide.index.value, abs=0.01)
    assert found.index.high == pytest.approx(wide.index.high, abs=0.02)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_half_precision_that_is_really_broken_is_still_refused(defend, cut_of, broken):
    inputs = images(60)
    rows = inputs.half()
    defense = defend(rows)
    rows = rows.clone()
    rows[3, 5] = broken
    with pytest.raises(CollabplanError, match="hold NaN or infinity"):
        measure(rows, inputs, defense, cut_of)
