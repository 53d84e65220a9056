"""The report as one HTML file: no request, no script but its own, everything that comes from outside escaped."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from ..records.printable import without_escapes
from .chart import agreement_chart, front_charts, scale_of
from .document import Report
from .wording import number, share, size

MARK = '<meta name="generator" content="collabplan report">'
"""What tells a report from other files."""


def report_page(report: Report) -> str:
    """The report as HTML, UTF-8, at most 5 MB.

    Args:
        report: the data; the page shows nothing else.
    """
    sources = {name: _packaged(name) for name in ("report.html", "macros.html")}
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_cleaned,
    )
    environment.filters |= {"number": number, "size": size, "share": share, "percent": _percent, "upper": _upper}
    environment.filters |= {"log_percent": _log_percent, "tight": _tight, "coded": _coded}
    script = _packaged("report.js")
    template = environment.get_template("report.html")
    text: str = template.render(
        report=report,
        mark=Markup(MARK),
        style=Markup(_packaged("report.css")),
        script=Markup(script),
        script_hash=_hash(script),
        charts=front_charts(report),
        scales=_scales(report),
        compared=agreement_chart(report.agreement),
    )
    return text


def _packaged(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """The script's hash as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _cleaned(value: Any) -> Any:
    """Text without letters that turn the direction of writing or do not print; markup of our own as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return without_escapes(value)
    return value


def _scales(report: Report) -> dict[str, float]:
    """The longest bar of each column of the strip."""
    rows = report.strip
    return {
        "latency": scale_of(row.latency_ms for row in rows),
        "parts": scale_of(value for row in report.latency.rows for value in (row.predicted_ms, row.measured_ms)),
        "payload": _most(math.log10(1 + row.payload_bytes) for row in rows if row.payload_bytes is not None),
    }


def _most(values: Iterable[float]) -> float:
    return max(values, default=1.0) or 1.0


def _percent(value: float, whole: float) -> str:
    """A width, at most 100 %."""
    return f"{max(0.0, min(100.0, 100 * value / whole)):.2f}%" if whole > 0 else "0%"


def _log_percent(count: int, whole: float) -> str:
    """The width of a bar of bytes on a logarithmic scale."""
    return _percent(math.log10(1 + count), whole)


def _tight(text: str) -> Markup:
    """The same, escaped, with units that stay on the line of their number: that blank counts as not printable."""
    clean = str(escape(without_escapes(text)))
    return Markup(re.sub(r"(?<=\d) (?=%|ms\b|KiB|MiB|B\b|of \d)", "\u00a0", clean))


def _coded(text: str) -> Markup:
    """The same, escaped, with what stands between backticks set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(without_escapes(text)))))


def _upper(value: float) -> str:
    """An upper end between 0 and 1, rounded up to two decimals."""
    return f"{math.ceil(100 * value - 1e-9) / 100:.2f}"
