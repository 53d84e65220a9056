"""What a worker must know to join a study: kept in the study itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Record
from .defense import DefenseRecord
from .energy import EdgePower
from .link import Link
from .model import TargetIdentity
from .plan import DEFAULT_OBJECTIVES, Budgets, Objective, Tuning
from .profile import Profile


class StudySetup(Record):
    """A search as `optimize --storage` began it. A worker brings the target's file and data, and nothing else."""

    format: Literal["collabplan.study"] = "collabplan.study"
    schema_version: Literal[3] = 3
    target: TargetIdentity
    edge_profile: Profile
    cloud_profile: Profile
    link: Link
    edge_slowdown: float = Field(gt=0)
    edge_power: EdgePower | None
    budgets: Budgets
    trials: int | None
    sampler: Literal["tpe", "gp", "nsga2", "nsga3", "random", "exhaustive"]
    seed: int
    draws: int
    defenses: tuple[DefenseRecord, ...]
    leakage_samples: int
    batch: int
    tuning: Tuning | None
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES
