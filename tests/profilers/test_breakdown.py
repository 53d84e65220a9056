"""Sums over nodes, brought to the scale of the measurements."""

import pytest
from collabplan.graph import TracedGraph, candidate_cuts
from collabplan.profilers.breakdown import Breakdown
from collabplan.records import Profile


def test_sums_over_nodes_are_the_measurements_at_every_measured_cut_of_the_chain(
    residual: TracedGraph, profile: Profile
) -> None:
    cuts = candidate_cuts(residual)
    edge, cloud = Breakdown.of(profile, cuts, "edge"), Breakdown.of(profile, cuts, "cloud")
    assert sum(edge.node_ms.values()) == pytest.approx(profile.whole.p50_ms)
    assert sum(cloud.node_ms.values()) == pytest.approx(profile.whole.p50_ms)
    for cut in cuts:
        record = profile.cut(cut.id)
        if cut.kind != "proper" or len(cut.crossing) > 1 or record.interpolated:
            continue
        heads = [cut.units.heads[unit].name for unit in cut.edge.nonzero()[0]]
        assert sum(edge.node_ms.get(name, 0.0) for name in heads) == pytest.approx(record.edge.p50_ms)
        assert edge.timing(cut).p50_ms == pytest.approx(record.edge.p50_ms)
        assert cloud.timing(cut).p50_ms == pytest.approx(record.cloud.p50_ms)
