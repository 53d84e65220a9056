"""The options of each workflow, as plain values with their defaults.

The command line makes its options of these fields, and a `Study` takes them as keyword arguments: a default is written
here and nowhere else. This module imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..planner.default_defenses import DEFAULT_DEFENSES, EARLY_DEFENSES
from ..runtime.server.limits import ServeLimits

FEWEST_CROSSING, MOST_CROSSING = 1, 4
"""How many tensors may cross one cut where nothing is said: the first, or as many as it takes up to the second."""

Effort = Literal["quick", "standard", "thorough"]

PresetName = Literal["look", "standard", "signoff"]
"""How much evidence `optimize` gathers (`workflows.presets`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """How a model is profiled.

    Attributes:
        max_crossing: most tensors that may cross one cut; None: one, or the fewest up to four that leave a cut to
            search.
        device: `cpu`, `cuda`, `cuda:1` or `mps`.
        role: which halves this machine is to run.
        batch: samples of one request.
        threads: inside an operator; None: torch's own choice, or one where the machine is busy and one is faster.
        dtype: a copy of the model is converted to it and measured; None: the model as it is.
        seconds: spent on timing cuts.
    """

    max_crossing: int | None = None
    device: str = "cpu"
    role: Literal["both", "edge", "cloud"] = "both"
    batch: int = 1
    threads: int | None = None
    dtype: Literal["float32", "float16", "bfloat16", "float64"] | None = None
    seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetOptions:
    """What a plan must keep; None: no such budget.

    Attributes:
        budget_ms: longest predicted latency of a request, 95th percentile, in ms.
        max_accuracy_drop: most accuracy to lose, 0 to 1.
        max_leakage: highest leakage index, 0 to 1.
        max_reconstruction: largest share of inputs that attackers reconstruct.
        max_linkage: largest share of releases that attackers match to their input.
        max_consistency: largest share of reconstructions on which the network keeps its answer, beyond those of the
            mean image of the class, 0 to 1.
        max_region: highest leakage index of the declared region of interest, 0 to 1.
        min_accuracy: least accuracy, 0 to 1.
        max_payload: most to send for a sample, `20kB`.
        edge_memory: peak memory on the device, `200MB`.
        max_edge_params: most parameters on the device.
        max_energy_mj: most energy of the device for a request, in millijoules.
        result_at: where the result is needed.
    """

    budget_ms: float
    max_accuracy_drop: float = 0.05
    max_leakage: float | None = None
    max_reconstruction: float | None = None
    max_linkage: float | None = None
    max_consistency: float | None = None
    max_region: float | None = None
    min_accuracy: float | None = None
    max_payload: str | None = None
    edge_memory: str | None = None
    max_edge_params: int | None = None
    max_energy_mj: float | None = None
    result_at: Literal["edge", "cloud"] = "edge"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionOptions:
    """Network, devices and their profiles.

    Attributes:
        bandwidth: each way, `20mbps`; None: assumed.
        rtt: round trip, `15ms`; None: assumed.
        bandwidth_spread, rtt_spread: relative half-width of the 90 % interval.
        link: a file that `collabplan link` wrote, in place of the four above.
        edge_slowdown: how many times slower the device is than the machine that was profiled.
        edge_watts: what the device draws while it computes; None: as measured with its profile.
        joules_per_mb: what its radio takes for 10^6 bytes.
        profile: the profile of both machines.
        edge_profile, cloud_profile: the profiles of the two machines.
    """

    bandwidth: str | None = None
    rtt: str | None = None
    bandwidth_spread: float = 0.0
    rtt_spread: float = 0.0
    link: Path | None = None
    edge_slowdown: float = 1.0
    edge_watts: float | None = None
    joules_per_mb: float | None = None
    profile: Path | None = None
    edge_profile: Path | None = None
    cloud_profile: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """What is searched, and how.

    Attributes:
        trials: total of trials, earlier ones included; None: every candidate up to 200, else 200.
        sampler: proposes candidates if there are more than trials.
        seed: the same seed gives the same front.
        fresh: begin a new study, where else the latest that fits goes on.
        reuse: the name of the study to continue, also for another link or device.
        objectives: of the front, two or more names separated by commas.
        defense: the defenses to choose from, one family each (see `collabplan.defenses.spelling`); noise and quantizer
            of the first are those of undefended baselines.
        draws: dropout masks that accuracy is averaged over.
        memory: to fill, `4GB`, what lies in it already included; activations beyond it are spilled to the workspace. No
            figure depends on it. None: half of what is free.
        time_limit: when to end with the best plan so far: `90s`, `15m`, `2h`, or `none`.
        device: where this machine runs halves, fine-tuning and attacks: `cpu`, `cuda`, `cuda:1` or `mps`. Latencies are
            those of the profiles.
        log: where the finished search is logged too; None: nowhere.
    """

    trials: int | None = None
    sampler: Literal["tpe", "gp", "nsga2", "nsga3", "random", "exhaustive"] = "tpe"
    seed: int = 0
    fresh: bool = False
    reuse: str | None = None
    objectives: str = "accuracy,latency,leakage"
    defense: tuple[str, ...] = DEFAULT_DEFENSES
    draws: int = 5
    memory: str | None = None
    time_limit: str = "15m"
    device: str = "cpu"
    log: Literal["mlflow", "tensorboard"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """How the plan is attacked.

    Attributes:
        audit: run attacks; without them the plan is ESTIMATED.
        audits: most candidates attacked while searching; None: a fifth, at least 13.
        audit_effort: of the attacks on the plan, if the time suffices; cheaper ones come first.
        audit_seeds: runs of those attacks.
        accept: the least evidence for a privacy budget that is enough; None: what signing off takes.
    """

    audit: bool = True
    audits: int | None = None
    audit_effort: Effort = "standard"
    audit_seeds: int = 3
    accept: Literal["quick", "estimated"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSettings:
    """How the cloud half is fine-tuned.

    Attributes:
        finetune: epochs under each defense that costs accuracy; 0: no fine-tuning.
        finetune_loss: learn from the undefended model, or from labels.
        finetune_samples: most samples of the training data.
        finetune_penalty: weight of the share of the input that a linear reconstruction recovers.
    """

    finetune: int = 0
    finetune_loss: Literal["distillation", "cross-entropy"] = "distillation"
    finetune_samples: int = 12_000
    finetune_penalty: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSettings:
    """What several machines share.

    Attributes:
        storage: address of the PostgreSQL database that holds the study.
        artifacts: folder or `s3://bucket/prefix` for finished attacks and fine-tuned weights.
    """

    storage: str | None = None
    artifacts: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeOptions:
    """All that a search takes."""

    budgets: BudgetOptions
    conditions: ConditionOptions = ConditionOptions()
    search: SearchSettings = SearchSettings()
    audit: AuditSettings = AuditSettings()
    tuning: TuningSettings = TuningSettings()
    machines: MachineSettings = MachineSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageOptions:
    """Which cuts and defenses are measured, and how.

    Attributes:
        cuts: `all`, or names separated by commas.
        defense: what is tried at each cut, one family each (see `collabplan.defenses.spelling`).
        estimators: names separated by commas.
        samples: most samples, the same at all cuts.
        seed: the same seed gives the same figures.
        memory: as of `SearchSettings`.
        device: where halves run: `cpu`, `cuda`, `cuda:1` or `mps`. What crosses is compared on the CPU.
        max_crossing: as of `ProfileOptions`.
    """

    cuts: str = "all"
    defense: tuple[str, ...] = EARLY_DEFENSES
    estimators: str = "kde,sandwich,logdet,ridge"
    samples: int = 2000
    seed: int = 0
    memory: str | None = None
    device: str = "cpu"
    max_crossing: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackOptions:
    """Which cuts are attacked, and how.

    Attributes:
        cuts, defense, seed, max_crossing: as of `LeakageOptions`.
        attacks: `all`, or names separated by commas.
        effort: quick finds lower bounds; the others train until nothing is gained.
        seeds: attackers of each kind, from `seed` on; the worst counts. Signing off takes three.
        race: attackers that cannot reach the leader are not run to their end; nobody is outrun at quick effort.
        device: where halves and attackers run: `cpu`, `cuda`, `cuda:1` or `mps`.
        memory: as of `SearchSettings`.
        artifacts: folder or `s3://bucket/prefix` where machines share finished attacks and say which they are at.
        max_leakage: every audit must prove at most this index; None: the plan's own budget.
        max_reconstruction, max_linkage, max_consistency, max_region: as of `BudgetOptions`, and proven likewise.
        pictures: folder for originals beside reconstructions.
    """

    cuts: str = "all"
    defense: tuple[str, ...] = EARLY_DEFENSES
    attacks: str = "all"
    effort: Effort = "quick"
    seed: int = 0
    seeds: int = 1
    race: bool = True
    device: str = "cpu"
    memory: str | None = None
    artifacts: str | None = None
    max_leakage: float | None = None
    max_reconstruction: float | None = None
    max_linkage: float | None = None
    max_consistency: float | None = None
    max_region: float | None = None
    max_crossing: int | None = None
    pictures: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyOptions:
    """How a plan is signed off.

    Attributes:
        time_limit: when to end: `90s`, `15m`, `2h`, or `none`.
        effort: of all attacks.
        seeds: attackers of each kind; the worst counts.
        device: where halves and attackers run: `cpu`, `cuda`, `cuda:1` or `mps`.
        memory: as of `SearchSettings`.
        artifacts: as of `AttackOptions`.
    """

    time_limit: str = "2h"
    effort: Literal["standard", "thorough"] = "standard"
    seeds: int = 3
    device: str = "cpu"
    memory: str | None = None
    artifacts: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How a plan is run for real.

    Attributes:
        link_shape: of the loopback link, `20mbps,15ms`; None: the plan's link.
        requests: how many are timed.
        data: samples for accuracy: those of the plan's figures, or all.
        key_file: secret mask keys, for a plan with keyed masks; None: keys that are thrown away afterwards.
    """

    link_shape: str | None = None
    requests: int = 60
    data: Literal["confirm", "validation"] = "confirm"
    key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudOptions:
    """How a device speaks to a server.

    Attributes:
        ca: who signed the server's certificate.
        tls_cert, tls_key: this device's certificate and its secret key.
        server_name: the name in the server's certificate, if it is not the host's.
        insecure: speak plaintext to any address.
    """

    ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    server_name: str | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOptions:
    """What a device runs.

    Attributes:
        cloud: the server's host and port.
        timeout_s: of one try, in seconds.
        retries: further tries, which send identical bytes.
        fallback: where the cloud does not answer, run the whole model on the device.
        data: files with inputs.
        model: the target whose validation data are the inputs.
        samples: only the first ones; None: all.
        batch: samples of one request.
        threads: inside an operator; None: torch's own choice.
        key_file: secret mask keys, for a plan with keyed masks.
        input_range: values of black and white in the data, for keyed masks.
        releases: new releases of one input; then old bytes are sent again.
        near: inputs whose mean absolute difference is at most this are the same one.
        beyond: what happens after the last release.
        release_store: file that remembers releases from one run to the next.
        wire: fp32: no defense and no quantizer, which hides nothing.
        trust: public keys, one of which must have signed the bundle; none: whoever made the bundle, it runs.
    """

    cloud: str = "127.0.0.1:7433"
    timeout_s: float = 10.0
    retries: int = 2
    fallback: bool = False
    data: tuple[str, ...] = ()
    model: str | None = None
    samples: int | None = None
    batch: int = 1
    threads: int | None = None
    key_file: Path | None = None
    input_range: tuple[float, float] | None = None
    releases: int = 1
    near: float = 0.0
    beyond: Literal["resend", "refuse"] = "resend"
    release_store: Path | None = None
    wire: Literal["plan", "fp32"] = "plan"
    trust: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions(ServeLimits):
    """How a server answers devices.

    Attributes:
        listen: host and port; port 0 takes any.
        tls_cert: the server's certificate.
        tls_key: its secret key.
        client_ca: answer only devices whose certificate this authority signed.
        trust: public keys, one of which must have signed the bundle; none: whoever made the bundle, it runs.
        threads: inside an operator; None: torch's own choice.
        grace_s: seconds for requests that run when the server stops.
    """

    listen: str = "127.0.0.1:7433"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    trust: tuple[Path, ...] = ()
    threads: int | None = None
    grace_s: float = 30.0
