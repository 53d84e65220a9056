"""How `collabplan optimize --help` shows the options of a search."""

from __future__ import annotations

from ..workflows.options import SearchSettings
from .grouping import option
from .options import (
    AUDIT,
    AUDIT_EFFORT,
    AUDIT_SEEDS,
    AUDITS,
    BUDGETS,
    CONDITIONS,
    SEARCH,
    TUNING,
    defense_option,
    device_option,
    machine_options,
    memory_option,
)

MAX_LEAKAGE = option("Highest leakage index, 0 to 1.", "INDEX", BUDGETS)
MAX_RECONSTRUCTION = option("Most inputs that attackers reconstruct.", "SHARE", BUDGETS, rare=True)
MAX_LINKAGE = option("Most releases that attackers match to their input.", "SHARE", BUDGETS, rare=True)
MAX_CONSISTENCY = option(
    "Most reconstructions that keep the network's answer, beyond the mean image of the class.",
    "SHARE",
    BUDGETS,
    rare=True,
)
MAX_REGION = option("Highest leakage index of the region_of_interest.", "INDEX", BUDGETS, rare=True)
MAX_PAYLOAD = option("Most to send: 20kB, 1.5 MB a sample.", "SIZE", BUDGETS)

BUDGET_OPTIONS = {
    "budget_ms": option("Longest latency, p95: 50, or 1.5s.", "MS", BUDGETS, unit="ms"),
    "max_accuracy_drop": option("Most accuracy to lose, 0 to 1.", "SHARE", BUDGETS, default=True),
    "max_leakage": MAX_LEAKAGE,
    "max_payload": MAX_PAYLOAD,
    "max_edge_params": option("Most parameters on the device.", "N", BUDGETS),
    "max_reconstruction": MAX_RECONSTRUCTION,
    "max_linkage": MAX_LINKAGE,
    "max_consistency": MAX_CONSISTENCY,
    "max_region": MAX_REGION,
    "min_accuracy": option("Least accuracy, 0 to 1.", "SHARE", BUDGETS, rare=True),
    "edge_memory": option("Peak memory on the device: 200MB.", "SIZE", BUDGETS, rare=True),
    "max_energy_mj": option("Most millijoules of the device for a request.", "MJ", BUDGETS, rare=True),
    "result_at": option("Where the result is needed.", None, BUDGETS, default=True, rare=True),
}
CONDITION_OPTIONS = {
    "bandwidth": option("Each way: 8 Mbit/s, 20mbps; assumed if absent.", "RATE", CONDITIONS),
    "rtt": option("Round trip: 15ms; assumed if absent.", "TIME", CONDITIONS),
    "link": option("A link that `collabplan link` measured.", "FILE", CONDITIONS, rare=True),
    "edge_slowdown": option("Declare the device X times slower than profiled.", "X", CONDITIONS, default=True),
    "edge_profile": option("Profile of the device.", "FILE", CONDITIONS, rare=True),
    "cloud_profile": option("Profile of the cloud machine.", "FILE", CONDITIONS, rare=True),
    "profile": option("Profile of both machines.", "FILE", CONDITIONS, rare=True),
    "bandwidth_spread": option(
        "Relative half-width of its 90 % interval.", "SHARE", CONDITIONS, default=True, rare=True
    ),
    "rtt_spread": option("Relative half-width of its 90 % interval.", "SHARE", CONDITIONS, default=True, rare=True),
    "edge_watts": option(
        "Declare what the device draws while it computes; default: as measured with its profile.",
        "W",
        CONDITIONS,
        rare=True,
    ),
    "joules_per_mb": option("Declare what its radio takes for 10^6 bytes.", "J", CONDITIONS, rare=True),
}
PRESET = option(
    "look (no attacks, 90 s), standard, or signoff.",
    "PRESET",
    SEARCH,
    default=True,
)
SEARCH_OPTIONS = {
    "defense": defense_option(SEARCH, SearchSettings),
    "trials": option("Candidates in all; default: all up to 200.", "N", SEARCH, least=1),
    "seed": option("The same seed gives the same front.", "N", SEARCH, default=True, least=0, rare=True),
    "time_limit": option("End by then with the best plan so far: 90s, 15m, 2h, none.", "TIME", SEARCH, default=True),
    "fresh": option("Begin a new search; default: go on with the last one that fits.", None, SEARCH, "--fresh"),
    "reuse": option(
        "Continue STUDY (search-1): another link or device needs no new measurements.", "STUDY", SEARCH, rare=True
    ),
    "sampler": option("Proposes candidates if there are more than trials.", None, SEARCH, default=True, rare=True),
    "objectives": option(
        "What the front is made of, two or more: accuracy, latency, leakage, energy, payload.",
        "NAME,...",
        SEARCH,
        default=True,
        rare=True,
    ),
    "draws": option("Dropout masks that accuracy is averaged over.", "N", SEARCH, default=True, rare=True, least=1),
    "device": device_option(SEARCH, rare=True),
    "log": option("Also log the search, once it has ended: docs/tools.md.", None, SEARCH, rare=True),
    "memory": memory_option(SEARCH, rare=True),
}
AUDIT_OPTIONS = {
    "audit": AUDIT,
    "audit_effort": AUDIT_EFFORT,
    "audits": option(
        "Most candidates attacked while searching, and 10 more that would win; default: a fifth, at least 13.",
        "N",
        AUDITS,
        rare=True,
        least=0,
    ),
    "audit_seeds": AUDIT_SEEDS,
    "accept": option("Least evidence for a privacy budget, quick or estimated; default: signing off.", "LEVEL", AUDITS),
}
TUNING_OPTIONS = {
    "finetune": option("Tune the cloud half on train_data.", "EPOCHS", TUNING, default=True, least=0),
    "finetune_loss": option("Learn from the undefended model, or from labels.", None, TUNING, default=True, rare=True),
    "finetune_samples": option("Most samples of train_data.", "N", TUNING, default=True, rare=True, least=2),
    "finetune_penalty": option(
        "Also train a projection of the whole tensor against a linear reconstruction of the input: the weight of the "
        "share that it recovers, for example 0.1.",
        "WEIGHT",
        TUNING,
        default=True,
        rare=True,
        least=0,
    ),
}
MACHINE_OPTIONS = machine_options(rare=True)
