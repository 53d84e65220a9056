"""The page: one offline file that shows the record and nothing else, whatever stands in names."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import report_plans as made
from collabplan.records import TargetIdentity
from collabplan.report import ReportSources, make_report, report_page

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">$x_1$ \u202e{{7*7}}'
GALLERIES = [made.gallery(made.candidate(defense=defense)) for defense in (made.NONE, made.DROPOUT, made.RANK)]


class Page(HTMLParser):
    """The page's elements, its headings by rank and its links to elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def whole() -> str:
    plan = made.plan(chosen=made.candidate(audited=made.audited()))
    plan = plan.model_copy(update={"measured": made.measured(plan)})
    return report_page(make_report(ReportSources(plan, galleries=GALLERIES, why={"Why": ["Because."]})))


def test_the_page_shows_what_the_record_says(whole: str) -> None:
    text = whole.replace("\u00a0", " ")
    for part in ("at most 25 of 100 pictures come back recognisable", "84.4 %", "35.0 ms", "attacked, standard",
                 "Not as asked for", "Because.", "a small processor", "p50 above the interval"):  # fmt: skip
        assert part in text


def test_the_page_is_small_and_asks_for_nothing(whole: str) -> None:
    assert len(whole.encode()) < 300_000
    without_names = re.sub(r'xmlns(:\w+)?="http://www\.w3\.org/[^"]*"', "", whole)
    assert "http" not in without_names.replace("http-equiv", "")
    for tag, attributes in Page(whole).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)


def test_large_pictures_stay_below_five_megabytes() -> None:
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 255, (8, 3, 120, 120), dtype=np.uint8)
    names = [f"attack {at}" for at in range(25)]
    audit = made.audit(made.candidate(), attacks=tuple(made.attack_result(name, 0.5) for name in names))
    loud = made.gallery(made.candidate(), audit=audit, originals=noise, pictures=dict.fromkeys(names, noise))
    report = make_report(ReportSources(made.plan(), galleries=[loud]))
    (shown,) = report.pictures.conditions
    assert shown.rows
    assert shown.left_out > 0
    assert len(report_page(report).encode()) < 5_000_000


def test_hostile_names_stay_text() -> None:
    chosen = made.candidate(HOSTILE, cut_kind="proper", audited=made.audited())
    plan = made.plan(
        chosen=chosen,
        target=TargetIdentity(spec=HOSTILE),
        model=made.MODEL.model_copy(update={"name": HOSTILE}),
        study=HOSTILE,
        front=(chosen, made.candidate(HOSTILE, cut_kind="proper", violations=(HOSTILE,), meets_budgets=False)),
    )
    text = report_page(make_report(ReportSources(plan, galleries=[made.gallery(chosen)], why={HOSTILE: [HOSTILE]})))
    page = Page(text)
    assert page.count("script") == 1, "its own"
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert "<script>alert" not in text
    assert "\u202e" not in text, "no letter may turn the direction of writing"
    assert "{{7*7}}" in text
    assert "49" not in re.findall(r"<title>([^<]*)", text)[0]


def test_the_one_script_is_allowed_by_its_hash_alone(whole: str) -> None:
    import base64
    import hashlib

    (script,) = re.findall(r"<script>(.*?)</script>", whole, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        attributes["content"] for tag, attributes in Page(whole).tags if tag == "meta" and "http-equiv" in attributes
    )
    assert f"script-src 'sha256-{digest}'" in (policy or "")
    assert "default-src 'none'" in (policy or "")


def test_headings_are_in_order_and_every_picture_and_table_is_named(whole: str) -> None:
    page = Page(whole)
    ranks = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert ranks[0] == 1
    assert ranks.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(ranks))
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert {"header", "main", "footer", "nav"} <= {tag for tag, _ in page.tags}
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids)), "ids of inlined figures must not meet"


def test_the_same_data_makes_the_same_page() -> None:
    report = make_report(ReportSources(made.plan(), galleries=GALLERIES))
    assert report_page(report) == report_page(report)


def test_commands_in_sentences_are_set_as_code() -> None:
    page = report_page(make_report(ReportSources(made.plan())))
    assert "latency is predicted (<code>collabplan verify</code> measures it)" in page
    body = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    assert "`" not in body
