"""Hand-made records with the longest names and figures that tables must hold, and every mark that they can show."""

from __future__ import annotations

from typing import Any

import report_plans as made
from collabplan.planner import SearchResult
from collabplan.planner.problem import RuledOut
from collabplan.records import (
    AgreementReport,
    AgreementRow,
    Audit,
    AuditReport,
    Baseline,
    Candidate,
    ControlRow,
    Correlation,
    Crossing,
    CutProfile,
    DefenseRecord,
    DropoutRecord,
    EchoTimes,
    EdgePower,
    InformationEstimate,
    Interval,
    Leakage,
    LeakageReport,
    LeakageRow,
    Link,
    LinkReport,
    Measured,
    NodeProfile,
    NoiseRecord,
    Plan,
    Profile,
    QuantizerRecord,
    Timing,
)

LONG = "encoder.layers.encoder_layer_11.self_attention + encoder.layers.encoder_layer_11"
SCATTERING = Timing.from_samples([1000.0, 12345.6, 30000.0])
NOISY = DefenseRecord.of(
    DropoutRecord(granularity="channel", rate=0.35), NoiseRecord(distribution="laplace", std=0.025), QuantizerRecord()
)
POWER = EdgePower(watts=12.5, source="powercap")
ESTIMATE = InformationEstimate(
    estimator="kde", value_nats=12345.6, meaning="surrogate", saturated=False, sample_count=2000, assumes="nothing"
)
INTERVAL = Interval(value=0.9, low=0.85, high=0.95, level=0.95)


def profile() -> Profile:
    """30 cuts and 12 nodes."""
    raw = Crossing(name="x", node="x", dtype="float32", sample_shape=(3, 224, 224), raw_input=True)
    cuts = tuple(
        CutProfile(
            id=f"c{depth}",
            name=f"{LONG}.{depth}",
            kind="proper",
            depth=depth,
            crossing=(raw,),
            searchable=depth > 2,
            edge=SCATTERING,
            cloud=SCATTERING,
            interpolated=depth % 2 == 0,
            payload_bytes=10**9,
            edge_parameter_count=10**9,
            edge_parameter_bytes=4 * 10**9,
            edge_peak_bytes=10**11,
            edge_flops=None,
        )
        for depth in range(30)
    )
    node = NodeProfile(
        name=LONG,
        operator="aten.native_group_norm_backward.default",
        module=LONG,
        timing=SCATTERING,
        output_bytes=10**10,
        flops=10**13,
        parameter_count=0,
    )
    return Profile(
        target=made.plan().target,
        model=made.MODEL,
        role="both",
        device=made.plan().edge_device,
        dtype="float32",
        batch=1,
        whole=SCATTERING,
        node_sum_ms=1.0,
        nodes=(node,) * 12,
        cuts=cuts,
        sample_input_bytes=1,
        sample_output_bytes=1,
        peak_memory_method="liveness",
        warnings=("another program was at work while the cuts were timed; profile again on an idle machine " * 2,),
        provenance=made.MADE,
    )


def candidate(name: str = LONG, defense: DefenseRecord = NOISY, **changes: Any) -> Candidate:
    """A candidate with long figures."""
    slow = made.interval(12345.6, 11111.1, 23456.7, 0.9)
    latency = made.candidate().latency.model_copy(update={"p50_ms": slow, "p95_ms": 24680.0})
    known: dict[str, Any] = {"latency": latency, "payload_bytes": 98_765, "edge_energy_mj": 12345.6}
    return made.candidate(name, defense, **known | changes)


def plan() -> Plan:
    """A plan with a front of 40 candidates: chosen, attacked, predicted, estimated, some over a budget."""
    names = ("region", "consistency_excess", "features_excess", "ssim_excess", "ms_ssim_excess")
    figures: dict[str, Any] = dict.fromkeys(names, INTERVAL)
    chosen = candidate(audited=made.audited("quick", 1, **figures))
    rows = [candidate(f"{LONG}.{at}", leakage=made.estimated(0.5 + at / 100)) for at in range(38)]
    rows += [candidate("predicted", predicted=made.interval(0.3, 0.2, 0.4, 0.9))]
    missed = candidate("over", predicted=made.interval(0.2, 0.1, 0.3, 0.9), meets_budgets=False, violations=("slow",))
    roles = ("cloud-only", "edge-only", "latency-optimal", "middle")
    return made.plan(
        chosen=chosen,
        front=(chosen, *rows),
        baselines=tuple(Baseline(role=role, candidate=missed) for role in roles),
        edge_power=POWER,
        objectives=("accuracy", "latency", "leakage", "energy", "payload"),
        headline=f"{LONG}: 12,346 ms, drop 0.040, index 0.410",
    )


def searched(found: Plan) -> SearchResult:
    """What a search found whose plan is `found`."""
    return SearchResult(
        plan=found,
        chosen=found.chosen,
        front=found.front,
        baselines=found.baselines,
        nearest_miss=None,
        trials=200,
        reused=100,
        space=1000,
        ruled_out=RuledOut(500, 10),
        confirm_tries=10,
        hypervolume=0.9,
        study="search-1",
        audits=13,
        notes=("a sentence that a search says about what was found, which is as long as such sentences are " * 2,),
        objectives=found.objectives,
        power=POWER,
    )


def leakage_report() -> LeakageReport:
    """25 cuts under two defenses with every column."""
    leaks = Leakage(
        index=made.interval(0.512, 0.417, 0.644),
        status="estimated",
        noise_floor="8-bit wire",
        information_low_nats=12.34,
        information_high_nats=45.67,
        saturated=False,
        resolvable_noise=1.2e9,
        estimates=(ESTIMATE,),
        dfil=1.2e-9,
        reidentification_ceiling=0.876,
        sample_count=2000,
    )
    rows = tuple(
        LeakageRow(
            cut_id=f"{at}",
            cut_name=f"{LONG}.{at}",
            cut_kind="proper",
            depth=at,
            payload_bytes=98_765,
            defense=defense,
            leakage=leaks,
        )
        for at in range(25)
        for defense in (made.NONE, made.DROPOUT, NOISY)
    )
    return LeakageReport(
        target=made.plan().target,
        model=made.MODEL,
        data_hash="d",
        sample_count=2000,
        input_number_count=150_528,
        estimators=("kde", "sandwich", "logdet", "ridge"),
        rows=rows,
        output_floor=rows[0].model_copy(update={"cut_kind": "edge-only"}),
        controls=controls(),
        provenance=made.MADE,
    )


def controls() -> tuple[ControlRow, ...]:
    """Controls that passed, failed and do not apply."""
    known: dict[str, Any] = {"control": "nested masks of one input", "estimator": "sandwich", "truth": 7.624}
    return (
        ControlRow(**known, value=7.5, lower=-17.1, upper=1e9, passed=True),
        ControlRow(**known, value=1e9, passed=False, note="a reason that is as long as reasons are " * 3),
        ControlRow(**known, value=None, passed=None, note="more than the samples resolve"),
    )


def audit_report() -> AuditReport:
    """Three cuts with every column, an attack that failed, and the output's floor."""
    perceptual = ("consistency", "ssim", "ms_ssim", "features")
    names = ("excess", "within_class", "region", "attribute", *perceptual, *(f"{each}_excess" for each in perceptual))
    figures: dict[str, Any] = dict.fromkeys(names, INTERVAL)

    def audit(name: str, defense: DefenseRecord) -> Audit:
        tiers = tuple(
            made.tier(threat=threat, lower_bound=True, conclusive=False, failed=("shadow-same",), **figures)
            for threat in ("query-free", "black-box", "white-box")
        )
        results = (
            made.attack_result("ridge", 0.4),
            made.attack_result("shadow-same", 0.4, status="failed", figures=None, reason="it did not converge " * 6),
        )
        return made.audit(candidate(name, defense=defense), attacks=results, tiers=tiers, accuracy=INTERVAL)

    return AuditReport(
        target=made.plan().target,
        model=made.MODEL,
        data_hash="d",
        audits=tuple(audit(f"{LONG}.{at}", each) for at in range(3) for each in (made.NONE, made.DROPOUT, NOISY)),
        output_floor=audit("edge-only", made.NONE),
        floor_of="label",
        pictures=("pictures/000-cloud-only.png",),
        notes=("a sentence that an audit says about what was found, which is as long as such sentences are " * 2,),
        provenance=made.MADE,
    )


def measured(of: Plan) -> Measured:
    """A measurement that scatters."""
    parts = dict.fromkeys(("total", "edge", "defense", "way", "cloud", "direct"), SCATTERING)
    return made.measured(of).model_copy(update={**parts, "edge_slowdown": 5.0, "exact_samples": 1000, "violations": ()})


def agreement_report() -> AgreementReport:
    """Every scope, with intervals that are negative."""
    found = Correlation(value=-0.97, low=-0.99, high=-0.12, pair_count=48)
    scopes = ("pooled", "within defense", "within cut", "accuracy drop <= 10 points")
    names = ("leakage index (ridge)", "payload x (1 - rate)")
    return AgreementReport(
        target=made.plan().target,
        model=made.MODEL,
        threat="query-free",
        releases="any",
        pair_count=48,
        rows=tuple(
            AgreementRow(estimate=name, trivial=name != names[0], scope=scope, spearman=found, kendall=found)
            for name in names
            for scope in scopes
        ),
        notes=("a sentence that the comparison says, which is as long as such sentences are " * 2,),
        provenance=made.MADE,
    )


def link_report() -> LinkReport:
    """A link that was measured, with a warning."""
    link = Link(
        bandwidth_bps=8.123e6, download_bps=19.9e6, rtt_ms=15.26, bandwidth_spread=0.123, rtt_spread=0.456,
        source="measured", sample_count=345,
    )  # fmt: skip
    return LinkReport(
        link=link,
        round_trip=SCATTERING,
        echoes=(EchoTimes(up_bytes=0, down_bytes=0, times_ms=(15.0,)),),
        moved_bytes=123_456_789,
        warnings=("the times scatter so much that the bandwidth is a guess; measure again on a quiet network " * 2,),
        device=made.plan().edge_device,
        provenance=made.MADE,
    )
