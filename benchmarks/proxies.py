"""Does the leakage index rank (cut, defense) candidates better than what costs nothing to know?

    .venv/bin/python benchmarks/proxies.py                       COLLABPLAN_DATA names the data folder
    .venv/bin/python benchmarks/proxies.py --networks mnist_lenet digits

Every cut is measured under the same mix of defenses. Proxies are depth, rate, payload and linear fits of these to the
attacks on the *other* networks. Attackers with a linear path (`ridge`, `kernel`) and without one (`plain`) are apart.
Intervals resample whole cuts, the same ones for both sides of a difference. A network takes about 12 minutes of one
core; what is finished is kept under --work, where tables.md holds the figures as Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from collabplan.attacks.agreement import Floats, Rank, kendall, resampled, spearman
from collabplan.records import write_text
from mixed_grid import GRIDS, INDEX, UPPER, Measured, measured
from ranking import Difference, Flags, clusters_of, linear_fit, random_sets, regret, within_clusters
from report import bar, machine

from attacks import SEED

DROPS = (0.02, 0.05, 0.1)
DROP = 0.05
"""The greatest accuracy drop that is acceptable, in turn where one candidate of all is chosen; `DROP` elsewhere."""

CHOICES, BUDGETS, BUDGETS_RESAMPLED = 8, 2000, 100
"""Candidates that a random budget permits at most; budgets of the data, and of each resample of it."""

MISS = -0.02
FIGURES = ("spearman", "kendall", "within cut", "regret")


@dataclass(frozen=True, eq=False)
class Network:
    """One network's candidates, and the resamples that all methods share."""

    name: str
    candidates: Sequence[Measured]

    @cached_property
    def clusters(self) -> list[list[int]]:
        """The candidates of each cut."""
        return clusters_of([each.cut for each in self.candidates])

    @cached_property
    def times(self) -> Floats:
        """How often each candidate counts."""
        return resampled(self.clusters, np.random.default_rng(SEED))

    @cached_property
    def budgets(self) -> tuple[Flags, Flags]:
        """Random sets of candidates, of the data and of its resamples."""
        draws, allowed = np.random.default_rng(SEED), self.affordable(DROP)
        return (
            random_sets(allowed, self.times[:1], CHOICES, BUDGETS, draws),
            random_sets(allowed, self.times[1:], CHOICES, BUDGETS_RESAMPLED, draws),
        )

    @cached_property
    def rooms(self) -> Flags:
        """For each cut, the affordable candidates that are no deeper: what a device has room for."""
        depths = np.asarray([each.depth for each in self.candidates])
        return np.asarray([(depths <= most) & self.affordable(DROP) for most in np.unique(depths)])

    def affordable(self, drop: float) -> Flags:
        """The candidates whose accuracy drops by no more."""
        return np.asarray([each.drop <= drop for each in self.candidates])

    def truth(self, names: Sequence[str]) -> Floats:
        """The index that the strongest of some attackers reached."""
        return np.asarray([max(each.found[name] for name in names) for each in self.candidates])

    def columns(self, *which: Callable[[Measured], float]) -> Floats:
        """`[n, k]`: features of the candidates."""
        return np.asarray([[feature(each) for feature in which] for each in self.candidates])

    def by_resample(self, scores: Floats, truth: Floats) -> dict[str, Floats]:
        """Every figure of a method: of the data, then of each resample."""
        ranks: dict[str, Rank] = {"spearman": spearman, "kendall": kendall}
        once, drawn = (regret(scores, truth, sets).mean(axis=-1) for sets in self.budgets)
        return {
            **{figure: rank(scores, truth, self.times) for figure, rank in ranks.items()},
            "within cut": within_clusters(spearman, scores, truth, self.clusters, self.times),
            "regret": np.concatenate([once, drawn]),
        }


FEATURES: Mapping[str, tuple[Callable[[Measured], float], ...]] = {
    "depth": (lambda each: each.depth,),
    "dropout rate": (lambda each: each.rate,),
    "payload": (lambda each: -each.payload,),
    "payload x (1 - rate)": (lambda each: -each.payload * (1 - each.rate),),
    "depth + rate": (lambda each: each.depth, lambda each: each.rate),
    "depth + rate + log payload": (
        lambda each: each.depth, lambda each: each.rate, lambda each: float(np.log(each.payload)),
    ),
}  # fmt: skip
"""Proxies. A single feature stands for itself, and less of it means that more leaks; several are fitted."""

ATTACKERS = {"with a linear path": ("ridge", "kernel"), "without a linear path": ("plain",)}


@dataclass(frozen=True, eq=False)
class Method:
    """How one method ranks a network's candidates.

    Attributes:
        name: in tables.
        proxy: it knows nothing of what leaks.
        figures: by name, `[1 + resamples]`.
        by_depth_limit: mean regret where the device has room up to some cut.
        whole_grid: by the greatest accuracy drop, the regret where all candidates are open.
    """

    name: str
    proxy: bool
    figures: Mapping[str, Floats]
    by_depth_limit: float
    whole_grid: Mapping[float, float]

    def value(self, figure: str) -> float:
        """Of the data."""
        return float(self.figures[figure][0])

    def less(self, other: Method, figure: str) -> Difference:
        """A figure less that of another method."""
        return Difference.of(self.figures[figure], other.figures[figure])


def methods_of(network: Network, others: Sequence[Network], attackers: Sequence[str]) -> dict[str, Method]:
    """By name, every method at `network`; fits are to what `attackers` reached at the `others`."""
    truth, known = network.truth(attackers), np.concatenate([other.truth(attackers) for other in others])
    scores = {
        each: np.asarray([candidate.estimates[each] for candidate in network.candidates])
        for each in network.candidates[0].estimates
    }
    for name, features in FEATURES.items():
        here = network.columns(*features)
        there = np.concatenate([other.columns(*features) for other in others])
        scores[name] = linear_fit(there, known, here) if len(features) > 1 else -here[:, 0]
    return {
        name: Method(
            name,
            name in FEATURES,
            network.by_resample(each, truth),
            float(regret(each, truth, network.rooms).mean()),
            {drop: float(regret(each, truth, network.affordable(drop))) for drop in DROPS},
        )
        for name, each in scores.items()
    }


def print_methods(methods: Mapping[str, Method], where: str) -> None:
    """A line for each method, with what the index and its upper end have over it."""
    for name, method in methods.items():
        bar(
            "A2", f"{where}: {name}", rounded(method.value("spearman")), "Spearman's rho",
            proxy=method.proxy,
            further={figure: rounded(method.value(figure)) for figure in FIGURES[1:]},
            regret_by_depth_limit=rounded(method.by_depth_limit),
            regret_of_the_whole_grid={drop: rounded(value) for drop, value in method.whole_grid.items()},
            less_this={
                base: {figure: in_json(methods[base].less(method, figure)) for figure in FIGURES}
                for base in (INDEX, UPPER)
            },
        )  # fmt: skip


def print_verdicts(methods: Mapping[str, Method], where: str, network: Network) -> None:
    """For each figure, the index beside the proxy that turned out to be the best."""
    for figure in FIGURES:
        sign = -1 if figure == "regret" else 1
        proxies = [each for each in methods.values() if each.proxy and not np.isnan(each.value(figure))]
        best = max(proxies, key=lambda each: sign * each.value(figure))
        for base in (INDEX, UPPER):
            apart = methods[base].less(best, figure)
            bar(
                "A2", f"{where}: {figure} of the {base}, less that of {best.name}",
                rounded(apart.value), figure, target="better, 95 %",
                holds=apart.low > 0 if sign > 0 else apart.high < 0,
                reference=rounded(best.value(figure)), interval=in_json(apart)[1:],
                candidates=len(network.candidates), cuts=len(network.clusters),
                affordable=int(network.affordable(DROP).sum())
            )  # fmt: skip


def print_misses(network: Network) -> None:
    """The upper end beside what the strongest attacker of all reached: where it is lower, it reassures falsely."""
    apart = network.columns(lambda each: each.estimates[UPPER] - max(each.found.values()))[:, 0]
    bar(
        "A2", f"{network.name}: upper end of the index less what the strongest attacker reached, worst candidate",
        rounded(apart.min()), "index", target=MISS, holds=bool(apart.min() >= MISS), candidates=len(apart),
        below={
            f"{each.cut}, {each.defense}": [rounded(each.estimates[UPPER]), rounded(max(each.found.values()))]
            for each, miss in zip(network.candidates, apart, strict=True)
            if miss < MISS
        },
    )  # fmt: skip


def table(methods: Mapping[str, Method]) -> str:
    """The methods as Markdown; *less this* is what the index has over a method."""
    lines = [
        "| method | Spearman | index less this | Kendall | within cut | regret | index less this | by depth limit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    index = methods[INDEX]
    for name, method in methods.items():
        apart = ["-" if method is index else in_table(index.less(method, each)) for each in ("spearman", "regret")]
        rank, tau, within, lost = (number(method.value(figure)) for figure in FIGURES)
        said = name + (" (proxy)" if method.proxy else "")
        cells = [said, rank, apart[0], tau, within, lost, apart[1], number(method.by_depth_limit)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rounded(value: float) -> float | None:
    """For a JSON line; None for a figure that does not exist."""
    return None if np.isnan(value) else round(float(value), 4)


def in_json(apart: Difference) -> list[float | None]:
    """Value and ends of the interval."""
    return [rounded(each) for each in (apart.value, apart.low, apart.high)]


def number(value: float) -> str:
    """For a table."""
    return "-" if np.isnan(value) else f"{value:.3f}"


def in_table(apart: Difference) -> str:
    """Value and interval."""
    return "-" if np.isnan(apart.value) else f"{apart.value:+.3f} ({apart.low:+.3f} to {apart.high:+.3f})"


def main() -> None:
    """Measure what is not kept yet, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=tuple(GRIDS), default=list(GRIDS), help="two or more")
    parser.add_argument("--work", type=Path, default=Path(".collabplan/benchmark-proxies"))
    options = parser.parse_args()
    found = [Network(name, measured(name, options.work)) for name in options.networks]
    if len(found) < 2:
        return  # what was measured is kept; proxies are fitted to all networks but the one that they rank
    tables = []
    for network in found:
        print_misses(network)
        others = [each for each in found if each is not network]
        for which, attackers in ATTACKERS.items():
            where, methods = f"{network.name}, attackers {which}", methods_of(network, others, attackers)
            print_methods(methods, where)
            print_verdicts(methods, where, network)
            tables.append(f"{where}\n\n{table(methods)}")
    write_text(options.work / "tables.md", "\n".join(tables))
    machine(("torch", "numpy"))


if __name__ == "__main__":
    main()
