"""Where a request's time goes: its parts add up, and a slower device is declared, not measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_plans import SkipNet, TwoHeads, images, last, make, middle, rows
from collabplan.runtime import open_edge, write_bundle
from collabplan.runtime.device.stopwatch import TimedClient, TimeSpent, timing
from serving import serving


def test_a_slower_device_is_declared_and_not_measured() -> None:
    spent = [TimeSpent(total=10.0, edge=2.0, defense=1.0, way=4.0, cloud=3.0)]
    times = {part: timing(spent, part, 5.0).p50_ms for part in ("total", "edge", "defense", "way", "cloud")}
    assert times == {"total": 22.0, "edge": 10.0, "defense": 5.0, "way": 4.0, "cloud": 3.0}


def test_the_parts_of_a_request_add_up_to_its_total(tmp_path: Path) -> None:
    made = make(SkipNet(), images, middle)
    write_bundle(made.plan, made.traced, made.cut, tmp_path / "bundle")
    with serving(tmp_path / "bundle") as server, TimedClient(open_edge(tmp_path / "bundle"), server.address) as client:
        for spent in client.series([images(1), images(2)], warming=1):
            parts = spent.edge + spent.defense + spent.way + spent.cloud
            assert min(spent.edge, spent.defense, spent.cloud) > 0
            assert parts == pytest.approx(spent.total)
        assert client.counts.requests == 3, "a request for warming, and two that count"


def test_a_plan_that_stays_on_the_device_spends_nothing_on_the_way(tmp_path: Path) -> None:
    made = make(TwoHeads(), rows, last)
    write_bundle(made.plan, made.traced, made.cut, tmp_path / "bundle")
    with TimedClient(open_edge(tmp_path / "bundle"), None) as client:
        spent = client.timed(rows(2))
    assert (spent.way, spent.cloud) == (0.0, 0.0)
    assert spent.edge > 0
    assert spent.edge + spent.defense == pytest.approx(spent.total)
