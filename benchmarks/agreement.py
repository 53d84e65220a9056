"""Bar 3.4: do the estimates of leakage rank (cut, dropout rate) pairs as attacks do?

    .venv/bin/python benchmarks/agreement.py cifar10_resnet20 --attacks ridge,inverse
    .venv/bin/python benchmarks/agreement.py mnist_lenet

Runs `collabplan leakage`, `attack` and `agreement` themselves, in a folder of their own under --work, with as many
processes of one thread as there are cores. Takes an hour or two; what is finished is kept, and a stopped run goes on.
Prints the bars, and writes table-*.md (the correlations) and pairs.md (every pair) beside the reports.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from collabplan.records import AgreementReport, AgreementRow, Audit, AuditReport, Correlation, LeakageReport, load
from report import bar, machine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RATES = "0,0.3,0.6,0.9"
ESTIMATORS = "kde,sandwich,logdet,ridge,mine"
SAMPLES = 1000
CUTS = {
    "cifar10_resnet20": (
        "stem.2", "layer1.0", "layer1.1", "layer1.2", "layer2.0", "layer2.1", "layer2.2", "layer3.0", "layer3.1",
        "layer3.2.add", "layer3.2", "pool",
    ),
    "mnist_lenet": (
        "conv1", "ReLU1", "pool1", "conv2", "ReLU2", "pool2", "fc1", "fc1act", "fc2", "fc2act",
    ),
}  # fmt: skip
RIDGE = "leakage index (ridge)"
POOLED, LOW, MEDIAN = 0.9, 0.75, 0.8
SCOPES = ("pooled", "within rate", "within cut", "accuracy drop <= 10 points")


def run(jobs: Sequence[Sequence[str]], folder: Path) -> None:
    """Run `collabplan` commands in `folder` at once, a thread each where there are several; exit where one fails.

    OMP_NUM_THREADS, where it is set, says how many threads each has: two beside other work on two cores hardly move.
    """
    threads = max(1, (os.cpu_count() or 1) // len(jobs))
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    program = Path(sys.executable).with_name("collabplan")
    started = []
    for number, job in enumerate(jobs):
        with (folder / f"{job[0]}-{number}.log").open("a") as log:
            started.append(
                subprocess.Popen([program, *job], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
            )
    codes = [process.wait() for process in started]
    if any(codes):
        sys.exit(f"a command failed; see the logs in {folder}")


def measured(name: str, cuts: Sequence[str], attacks: str, effort: str, folder: Path, jobs: int) -> None:
    """Make leakage.json, audit.json and agreement.json in `folder`."""
    target = str(EXAMPLES / name / "model.py")
    options = ("--attacks", attacks, "--effort", effort, "--defense", f"dropout:element:{RATES}")
    estimate = (
        "leakage", target, "--cuts", ",".join(cuts), *options[4:], "--estimators", ESTIMATORS,
        "--samples", str(SAMPLES), "-o", "leakage.json",
    )  # fmt: skip
    shares = [cuts[first::jobs] for first in range(jobs)]
    run([("attack", target, "--cuts", ",".join(share), *options) for share in shares if share], folder)
    run([("attack", target, "--cuts", ",".join(cuts), *options, "-o", "audit.json", "--pictures", "pictures")], folder)
    run([estimate], folder)
    for releases in ("one", "any"):
        said = ("agreement", "leakage.json", "audit.json", "--releases", releases, "-o", f"agreement-{releases}.json")
        run([said], folder)


def print_bars(name: str, report: AgreementReport, audits: AuditReport) -> None:
    """The ridge index against its bars and against the trivial proxies."""
    rows: dict[tuple[str, str], AgreementRow] = {(row.estimate, row.scope): row for row in report.rows}
    found = {scope: rows[RIDGE, scope].spearman for scope in SCOPES if (RIDGE, scope) in rows}
    trivial = {row.estimate: row.spearman.value for row in report.rows if row.trivial and row.scope == "pooled"}
    pooled, best = found["pooled"], max(value or 0.0 for value in trivial.values())
    medians = [found[scope].value or 0.0 for scope in ("within rate", "within cut")]
    enough = (pooled.value or 0) >= POOLED and (pooled.low or 0) >= LOW and min(medians) >= MEDIAN
    bar(
        "3.4",
        f"{name}: Spearman of the ridge and the audited {report.threat} index, pooled; releases: {report.releases}",
        pooled.value,
        "rho",
        target=POOLED,
        holds=enough and (pooled.value or 0) > best,
        reference=trivial,
        interval=(pooled.low, pooled.high),
        within_rate=medians[0],
        within_cut=medians[1],
        pairs=report.pair_count,
        efforts=sorted({audit.effort for audit in audits.audits}),
        attacks=sorted({result.attack for audit in audits.audits for result in audit.attacks}),
    )


def table(report: AgreementReport) -> str:
    """The correlations as Markdown."""
    lines = [
        "| estimate | pooled | within rate | within cut | drop <= 10 points | Kendall, pooled |",
        "|---|---|---|---|---|---|",
    ]
    names = list(dict.fromkeys(row.estimate for row in report.rows))
    for name in names:
        rows: dict[str, AgreementRow] = {row.scope: row for row in report.rows if row.estimate == name}
        cells = [shown(rows[scope].spearman) if scope in rows else "-" for scope in SCOPES]
        kendall = shown(rows["pooled"].kendall) if "pooled" in rows else "-"
        proxy = " (proxy)" if any(row.trivial for row in rows.values()) else ""
        lines.append(f"| {name}{proxy} | {' | '.join(cells)} | {kendall} |")
    return "\n".join(lines) + "\n"


def shown(found: Correlation) -> str:
    """The value with its interval."""
    if found.value is None:
        return "-"
    ends = f" ({found.low:.2f} to {found.high:.2f})" if found.low is not None and found.high is not None else ""
    return f"{found.value:.2f}{ends}"


def pairs(leakage: LeakageReport, audits: AuditReport) -> str:
    """Every pair as Markdown: what was estimated beside what was recovered, with one release and with ten."""
    estimated = {(row.cut_id, row.defense.rate): row.leakage.index.value for row in leakage.rows}
    lines = [
        "| cut | dropout | accuracy | estimated | audited, 1 release | by | 10 releases | re-identified | linked |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for audit in audits.audits:
        known = estimated.get((audit.cut_id, audit.defense.rate))
        once, by, often = worst(audit)
        tier = audit.tiers[-1]
        accuracy = "-" if audit.accuracy is None else f"{audit.accuracy.value:.3f}"
        cells = [
            audit.cut_name, f"{audit.defense.rate:g}", accuracy, "-" if known is None else f"{known:.3f}",
            f"{once:.3f}", by, f"{often:.3f}", f"{tier.reidentification.value:.3f}",
            "-" if tier.linkage is None else f"{tier.linkage.value:.3f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def worst(audit: Audit) -> tuple[float, str, float]:
    """The greatest index with one release, whose it was, and the greatest with any number."""
    known = [(result.figures.index.value, result) for result in audit.attacks if result.figures is not None]
    once, result = max(((value, r) for value, r in known if r.queries == 1), key=lambda pair: pair[0])
    return once, result.attack, max(value for value, _ in known)


def main() -> None:
    """Measure one example and print its bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", choices=sorted(CUTS))
    parser.add_argument("--cuts", help="comma-separated; default: a dozen of ResNet-20, all of LeNet-5")
    parser.add_argument("--attacks", default="all")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=Path, default=Path(".collabplan/benchmark-agreement"))
    options = parser.parse_args()
    folder = (options.work / options.example).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    cuts = options.cuts.split(",") if options.cuts else CUTS[options.example]
    measured(options.example, cuts, options.attacks, options.effort, folder, options.jobs)
    audits, leakage = load(AuditReport, folder / "audit.json"), load(LeakageReport, folder / "leakage.json")
    for releases in ("one", "any"):
        report = load(AgreementReport, folder / f"agreement-{releases}.json")
        print_bars(options.example, report, audits)
        (folder / f"table-{releases}.md").write_text(table(report))
    (folder / "pairs.md").write_text(pairs(leakage, audits))
    machine(("torch", "numpy", "scipy"))


if __name__ == "__main__":
    main()
