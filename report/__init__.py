"""What a person reads: plans in words, plots, and the report, one page that shows a decision with its evidence.

The public API is lazy: a name loads its module on first use. No torch is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy_api

if TYPE_CHECKING:
    from .document import Report
    from .evidence import Evidence, evidence_of
    from .page import report_page
    from .pictures import shown_galleries
    from .plots import plot_front, plot_latency, plot_leakage, plot_reconstructions
    from .report import ReportSources, make_report

_HOMES = {
    "Evidence": "evidence",
    "Report": "document",
    "ReportSources": "report",
    "evidence_of": "evidence",
    "make_report": "report",
    "plot_front": "plots",
    "plot_latency": "plots",
    "plot_leakage": "plots",
    "plot_reconstructions": "plots",
    "report_page": "page",
    "shown_galleries": "pictures",
}

__all__ = [
    "Evidence",
    "Report",
    "ReportSources",
    "evidence_of",
    "make_report",
    "plot_front",
    "plot_latency",
    "plot_leakage",
    "plot_reconstructions",
    "report_page",
    "shown_galleries",
]

__getattr__, __dir__ = lazy_api(__name__, _HOMES)
