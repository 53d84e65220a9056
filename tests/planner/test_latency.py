"""Parts add up, the interval holds them, and what does not happen costs nothing."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from collabplan.defenses.pipeline import Defense
from collabplan.planner.latency import (
    DRIFT,
    RECEIVE_FIXED_MS,
    REQUEST_FIXED_MS,
    defense_ms,
    edge_energy_mj,
    over_link,
    predict_latency,
)
from collabplan.profilers.joining import JoinedCut
from collabplan.profilers.link import serialisation_ms, transfer_ms
from collabplan.profilers.steady import steady_timing
from collabplan.records import Crossing, CutProfile, EdgePower, Link, Timing
from defense_records import defense_record

LINK = Link(bandwidth_bps=20e6, rtt_ms=15.0, bandwidth_spread=0.2, rtt_spread=0.1)
EDGE = Timing.from_samples([4.0, 5.0, 6.0, 7.0, 12.0])
CLOUD = Timing.from_samples([1.0, 1.5, 2.0, 2.5, 3.0])
FIVE_RUNS = 1 + 3 / 5


def joined(kind="proper", edge=EDGE, cloud=CLOUD):
    cut = CutProfile(
        id="x", name="x", kind=kind, depth=1, crossing=(), searchable=True, edge=edge, cloud=cloud, payload_bytes=4000,
        edge_parameter_count=0, edge_parameter_bytes=0, edge_peak_bytes=0, edge_flops=None,
    )  # fmt: skip
    return JoinedCut(cut, edge, cloud, interpolated=False)


def predict(cut, link=LINK, **more):
    return predict_latency(cut, link, upload_bytes=4000, download_bytes=40, device_defense_ms=0.5, **more)


def test_the_median_is_the_sum_of_its_parts():
    latency = predict(joined())
    parts = latency.parts
    assert latency.p50_ms.value == pytest.approx(sum(parts.model_dump().values()))
    assert parts.edge_ms == 6.0
    assert parts.defense_ms == 0.5 + REQUEST_FIXED_MS
    assert parts.cloud_ms == 2.0 + RECEIVE_FIXED_MS
    assert parts.transfer_ms == pytest.approx(transfer_ms(4000, LINK))
    assert parts.download_ms == pytest.approx(transfer_ms(40, LINK))
    assert parts.serialisation_ms == pytest.approx(serialisation_ms(4000) + serialisation_ms(40))


def test_p95_adds_what_each_part_does_at_its_worst():
    latency = predict(joined())
    slow = Link(bandwidth_bps=16e6, rtt_ms=16.5)
    fixed = latency.parts.serialisation_ms + 0.5 + REQUEST_FIXED_MS + RECEIVE_FIXED_MS
    at_worst = 6 + 2 + math.hypot(FIVE_RUNS * (EDGE.p95_ms - 6 + CLOUD.p95_ms - 2), DRIFT * (6 + 2))
    assert latency.p95_ms == pytest.approx(at_worst + transfer_ms(4000, slow) + transfer_ms(40, slow) + fixed)


def test_the_interval_of_the_median_takes_device_network_and_cloud_to_be_independent_and_the_drift_common():
    latency = predict(joined())
    median, ways = latency.p50_ms, transfer_ms(4000, LINK) + transfer_ms(40, LINK)
    slow, fast = Link(bandwidth_bps=16e6, rtt_ms=16.5), Link(bandwidth_bps=24e6, rtt_ms=13.5)
    above = transfer_ms(4000, slow) + transfer_ms(40, slow) - ways
    below = ways - transfer_ms(4000, fast) - transfer_ms(40, fast)
    slower = FIVE_RUNS * (EDGE.p95_ms - 6), FIVE_RUNS * (CLOUD.p95_ms - 2), above
    faster = FIVE_RUNS * (6 - 4.2), FIVE_RUNS * (2 - 1.1), below
    drift = DRIFT * (6 + 2)
    assert median.high - median.value == pytest.approx(math.hypot(*slower, drift))
    assert median.value - median.low == pytest.approx(math.hypot(*faster, drift))
    assert median.high < latency.p95_ms


@pytest.mark.parametrize("runs", [5, 10, 25, 100])
def test_few_runs_reach_as_far_from_their_median_as_many(runs):
    draw = random.Random(0)

    def p95_above_p50():
        timing = Timing.from_samples([100 + draw.gauss(0, 1) for _ in range(runs)])
        latency = predict(joined("edge-only", edge=timing, cloud=None))
        return math.sqrt((latency.p95_ms - latency.p50_ms.value) ** 2 - (DRIFT * timing.p50_ms) ** 2)

    found = statistics.mean(p95_above_p50() for _ in range(60_000 // runs))
    assert found == pytest.approx(1.645, rel=0.03)  # the normal law's 95 % quantile


def test_an_interpolated_side_reaches_as_far_as_the_fewest_runs_do():
    def median(p50_ms):
        between = Timing(p50_ms=p50_ms, p95_ms=8.0, iqr_ms=1.0, samples_ms=())
        return predict(joined("edge-only", edge=between, cloud=None)).p50_ms

    reach = math.hypot(FIVE_RUNS * 2, DRIFT * 6)
    assert (median(6.0).low, median(6.0).high) == pytest.approx((6 - reach, 6 + reach))
    assert median(1.0).low == 0.0


def test_over_another_link_is_as_predicted_for_it():
    other = Link(bandwidth_bps=5e6, rtt_ms=40.0, bandwidth_spread=0.1, rtt_spread=0.3)
    moved = over_link(predict(joined()), LINK, other, upload_bytes=4000, download_bytes=40)
    expected = predict(joined(), link=other)
    assert moved.p95_ms == pytest.approx(expected.p95_ms)
    assert moved.parts.model_dump() == pytest.approx(expected.parts.model_dump())
    assert moved.p50_ms.model_dump() == pytest.approx(expected.p50_ms.model_dump())


def test_the_edge_slowdown_scales_what_the_edge_computes_and_nothing_else():
    once, thrice = predict(joined()), predict(joined(), edge_slowdown=3.0)
    assert thrice.p50_ms.value - once.p50_ms.value == pytest.approx(2 * (6.0 + 0.5 + REQUEST_FIXED_MS))
    assert thrice.parts.cloud_ms == once.parts.cloud_ms


def test_edge_only_sends_nothing_unless_the_result_is_wanted_in_the_cloud():
    stays = predict(joined("edge-only", cloud=None))
    sent = predict(joined("edge-only", cloud=None), result_at="cloud")
    assert stays.p50_ms.value == 6.0
    assert sent.parts.transfer_ms == pytest.approx(transfer_ms(4000, LINK))
    assert stays.parts.download_ms == sent.parts.download_ms == 0.0


def test_a_result_wanted_in_the_cloud_is_not_sent_back():
    assert predict(joined(), result_at="cloud").parts.download_ms == 0.0
    assert predict(joined("cloud-only", edge=None)).parts.edge_ms == 0.0


def test_energy_is_what_is_computed_and_what_the_radio_moves():
    latency = predict(joined())
    computing = latency.parts.edge_ms + latency.parts.defense_ms
    assert computing > 0
    assert edge_energy_mj(latency, 10**6, EdgePower(watts=2.0)) == pytest.approx(2.0 * computing)
    radio = EdgePower(watts=2.0, joules_per_megabyte=5.0)
    assert edge_energy_mj(latency, 10**6, radio) == pytest.approx(2.0 * computing + 5000.0)


def test_the_defense_costs_what_it_touches():
    floating = Crossing(name="a", node="a", dtype="float32", sample_shape=(16, 100, 100))
    integers = Crossing(name="b", node="b", dtype="int64", sample_shape=(16, 100, 100))

    def cost(crossing, batch=1, **spec):
        return defense_ms(Defense(defense_record(**spec), (crossing,)), batch)

    masked = cost(floating, dropout="element", rate=0.5)
    assert masked > cost(floating, dropout="channel", rate=0.5) > cost(floating) > 0
    noisy = cost(floating, noise="gaussian", noise_std=0.1)
    assert noisy > cost(floating, noise="laplace", noise_std=0.1) > cost(floating) == cost(floating, noise="laplace")
    assert cost(floating, rounding="stochastic") > cost(floating)
    assert cost(floating, batch=4) > 3 * cost(floating)
    assert cost(integers, dropout="element", rate=0.5) == cost(floating, bits=None) == 0


def session(draw, speed, runs, contention=0.0):
    """A profile's timing of 10 ms of work in a session at this speed, whose rounds wander about it."""

    def run():
        waits = draw.expovariate(1 / 20) if draw.random() < contention else 0.0
        return 10 * speed * math.exp(draw.gauss(0, 0.03)) + waits

    return steady_timing([run() for _ in range(runs)])


@pytest.mark.parametrize("runs", [5, 10, 25])
@pytest.mark.parametrize("contention", [0.0, 0.4])
@pytest.mark.parametrize("same_machine", [False, True])
def test_the_90_percent_interval_holds_the_median_of_another_session(runs, contention, same_machine):
    draw = random.Random(runs)
    trials, held, within_p95 = 400, 0, 0

    def speed():
        """Of one session; two sessions then differ by `DRIFT` at their 90 % ends."""
        return math.exp(draw.gauss(0, DRIFT / 1.645 / math.sqrt(2)))

    def two():
        first = speed()
        return first, first if same_machine else speed()

    for _ in range(trials):
        planned, later = two(), two()
        edge, cloud = (session(draw, each, runs, contention) for each in planned)
        latency = predict(joined(edge=edge, cloud=cloud), link=Link(bandwidth_bps=20e6, rtt_ms=15.0))
        median = latency.p50_ms.value + 10 * sum(later) - edge.p50_ms - cloud.p50_ms
        one_run = latency.p50_ms.value - edge.p50_ms - cloud.p50_ms
        one_run += sum(10 * each * math.exp(draw.gauss(0, 0.03)) for each in later)
        held += latency.p50_ms.low <= median <= latency.p50_ms.high
        within_p95 += one_run <= latency.p95_ms
    assert held / trials >= 0.88
    assert within_p95 / trials >= 0.93
