"""What the documentation names is there: files, links, commands with their options, and names of the library."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from collabplan import FLOORS
from collabplan.cli.catalogue import COMMANDS
from command_line import PROFILE, Run, ran_in
from documents import Page
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *SITE.rglob("*.md"), ROOT / "benchmarks" / "README.md"]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
FOLDERS = "|".join((*FLOORS, "benchmarks", "docs", "examples", "tests"))
STARTS = ("docs/start-pictures.md", "docs/start-text.md")
"""Quick starts whose target and first commands are run."""

QUESTIONS = ("May I send this?", "Why not dropout?", "What if the attacker has my training data?")


@cache
def page_of(file: Path) -> Page:
    return Page.read(file)


def parse(arguments: list[str]) -> None:
    """Parse a command line as `collabplan` does, without running it."""
    from collabplan.cli.app import app
    from typer.main import get_command

    name = "collabplan"
    command: Any = get_command(app)
    parent: Any = None
    while True:
        parent = command.make_context(name, list(arguments), parent=parent)
        if not hasattr(command, "resolve_command"):
            return
        name, command, arguments = command.resolve_command(parent, [*parent._protected_args, *parent.args])


@pytest.mark.parametrize("page", NAMES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w/.-]+\.\w+)`", (ROOT / page).read_text(encoding="utf-8"))
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", NAMES)
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    here = ROOT / page
    lost = []
    for path, anchor in page_of(here).inner_links:
        there = (here.parent / path).resolve() if path else here
        inside = SITE not in here.parents or SITE in there.parents  # the site holds no other files
        if not there.exists() or not inside or (anchor and anchor not in page_of(there).anchors):
            lost.append(f"{path}#{anchor}")
    assert lost == []


def test_every_page_of_the_site_is_two_clicks_from_its_front_page_at_most() -> None:
    reached = {SITE / "index.md"}
    for _ in range(2):
        for page in list(reached):
            links = [(page.parent / path).resolve() for path, _ in page_of(page).inner_links if path.endswith(".md")]
            reached.update(links)
    assert sorted(page.name for page in SITE.rglob("*.md") if page not in reached) == []


def test_every_page_of_the_site_stands_in_its_navigation_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = sorted(re.findall(r"[\w/-]+\.md", text[text.index("nav:") : text.index("validation:")]))
    assert named == sorted(page.relative_to(SITE).as_posix() for page in SITE.rglob("*.md"))


def test_the_questions_that_people_ask_are_answered() -> None:
    text = (SITE / "faq.md").read_text(encoding="utf-8")
    assert text.count("\n## ") >= 10
    assert [question for question in QUESTIONS if f"\n## {question}\n" not in text] == []


@pytest.mark.parametrize("page", [name for name in NAMES if page_of(ROOT / name).commands])
def test_every_command_of_a_page_is_one_that_the_command_line_takes(
    page: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["collabplan"])
    for arguments in page_of(ROOT / page).commands:
        try:
            parse(arguments)
        except Exception as error:
            pytest.fail(f"collabplan {' '.join(arguments)}: {error}")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("page", NAMES)
def test_every_option_in_running_text_is_one_of_its_command(page: str) -> None:
    from collabplan.cli.app import app
    from typer.main import get_command

    group: Any = get_command(app)
    wrong = []
    for text in page_of(ROOT / page).inline:
        words = text.split()
        name = words[1] if words[:1] == ["collabplan"] and len(words) > 1 else words[0] if words else ""
        if name not in COMMANDS:
            continue
        command = group.commands[name]
        if hasattr(command, "commands"):
            continue
        known = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {"--help"}
        wrong += [f"{name} {word}" for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    assert wrong == []


def test_a_wrong_option_and_a_wrong_value_are_found() -> None:
    with pytest.raises(Exception, match="No such option: --no-such"):
        parse(["optimize", "--budget-ms", "50", "--no-such"])
    with pytest.raises(Exception, match="'none' is not one of"):
        parse(["attack", "model.py", "--effort", "none"])


def python_blocks(page: str) -> list[str]:
    return [block.text for block in page_of(ROOT / page).blocks if block.language == "python"]


@pytest.mark.parametrize("page", [name for name in NAMES if python_blocks(name)])
def test_python_blocks_compile_and_import_what_is_there(page: str) -> None:
    for text in python_blocks(page):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("collabplan."):
                module = importlib.import_module(node.module or "")
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []


@pytest.mark.parametrize("page", [name for name in NAMES if python_blocks(name)])
def test_python_blocks_call_methods_of_a_study_with_options_that_it_takes(page: str) -> None:
    from collabplan.workflows import PlanResult, Study

    kinds = {"study": Study, "plan": PlanResult}
    for text in python_blocks(page):
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if name in kinds:
                    known = known_options(getattr(kinds[name], method))
                    assert [each.arg for each in node.keywords if each.arg not in known] == []


def known_options(method: Any) -> set[str]:
    """What a method of a study takes by name, its command's options included."""
    from collabplan.workflows import options
    from collabplan.workflows.named_options import groups_of, names_of

    own = set(inspect.signature(method).parameters)
    kind = getattr(options, f"{method.__name__.title()}Options", None)
    groups = groups_of(kind).values() if kind and "options" in own else ()
    return own.union(*(names_of(group) for group in groups))


def test_the_python_example_of_the_readme_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collabplan.workflows import Study

    short: dict[str, Any] = {"max_edge_params": 60, "max_accuracy_drop": 1.0, "trials": 2, "draws": 1, "audit": False}
    whole = Study.optimize
    monkeypatch.setattr(Study, "optimize", lambda study, budget_ms: whole(study, 100 * budget_ms, **short))
    ran_in(here, PROFILE)
    exec(compile(python_blocks("README.md")[0], "README.md", "exec"), {})
    assert (here / "halves" / "edge").is_dir()
    assert (here / "halves" / "cloud").is_dir()


@pytest.mark.parametrize("page", STARTS)
def test_a_quick_starts_target_and_first_commands_run_from_nothing(page: str, here: Path, run: Run) -> None:
    colours = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}
    for at, (name, colour) in enumerate(colours.items()):
        (here / "photos" / name).mkdir(parents=True)
        for number in range(40):
            noise = Image.effect_noise((32, 32), 60 + number + at).convert("RGB")
            Image.blend(noise, Image.new("RGB", (32, 32), colour), 0.5).save(here / f"photos/{name}/{number:03}.jpg")
    marked = {block.mark: block.text for block in page_of(ROOT / page).blocks if block.mark}
    (here / "model.py").write_text(marked["target"], encoding="utf-8")
    for line in marked["commands"].strip().splitlines():
        short = line.replace("--seconds 3", "--seconds 0.3").replace(
            "collabplan leakage", "collabplan leakage --samples 40"
        )
        ran = run(*short.split()[1:])
        assert ran.code == 0, f"{line}: {ran.err}"


def test_every_command_stands_in_the_readme_and_in_the_table_of_dependencies() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"collabplan {name}" not in readme] == []
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = design[design.index("## Dependencies") : design.index("## How data flows")]
    assert [name for name in COMMANDS if f"`{name}`" not in table] == []
    listed = (SITE / "commands.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"collabplan {name}" not in listed] == []
