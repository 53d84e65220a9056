"""Searches cut x defense, keeps the Pareto front, chooses the plan.

The public API is lazy: a name loads its module, and torch with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .front import hypervolume, pareto_front
    from .latency import predict_latency
    from .planning import join_search, optimize, plan_for
    from .problem import AuditOptions, Problem, RuledOut, SearchOptions, SearchResult
    from .roles import Roles
    from .search import Walk, search_points
    from .shared_study import read_setup
    from .space import Point, Space, Wire
    from .study import open_store

_HOMES = {
    "AuditOptions": "problem",
    "SearchResult": "problem",
    "Point": "space",
    "Problem": "problem",
    "Roles": "roles",
    "RuledOut": "problem",
    "SearchOptions": "problem",
    "Space": "space",
    "Walk": "search",
    "Wire": "space",
    "hypervolume": "front",
    "join_search": "planning",
    "open_store": "study",
    "optimize": "planning",
    "pareto_front": "front",
    "plan_for": "planning",
    "predict_latency": "latency",
    "read_setup": "shared_study",
    "search_points": "search",
}

__all__ = [
    "AuditOptions",
    "Point",
    "Problem",
    "Roles",
    "RuledOut",
    "SearchOptions",
    "SearchResult",
    "Space",
    "Walk",
    "Wire",
    "hypervolume",
    "join_search",
    "open_store",
    "optimize",
    "pareto_front",
    "plan_for",
    "predict_latency",
    "read_setup",
    "search_points",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
