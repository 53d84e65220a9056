"""What the documentation names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from collabplan import FLOORS
from collabplan.cli.catalogue import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"]
FOLDERS = "|".join((*FLOORS, "benchmarks", "docs", "examples", "tests"))


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_file_that_a_page_names_exists(page: str) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w/.-]+\.\w+)`", (ROOT / page).read_text(encoding="utf-8"))
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


def test_every_command_stands_in_the_readme_and_in_the_table_of_dependencies() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"collabplan {name}" not in readme] == []
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = design[design.index("## Dependencies") : design.index("## How data flows")]
    assert [name for name in COMMANDS if f"`{name}`" not in table] == []
