"""Configuration from the nearest folder upwards; the command line wins."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import pytest
from collabplan.cli.app import app
from collabplan.cli.catalogue import COMMANDS as CATALOGUE
from collabplan.cli.config import NAMED_ONLY, PATHS, Config, Option, find_config
from collabplan.records import CollabplanError
from command_line import Ran, Run
from typer.main import get_command

TARGET = Option("target", "TARGET")
COMMANDS = {
    "optimize": {"budget-ms": Option("budget_ms", "MS"), "target": TARGET, "seed": Option("seed", "N")},
    "profile": {"target": TARGET},
}


def said(ran: Ran) -> str:
    """The failure, below the line that says which file was read."""
    read, failure = ran.err.splitlines()
    assert read.startswith("collabplan: defaults from ")
    return failure


def test_the_nearest_configuration_counts(here: Path) -> None:
    (here / ".git").mkdir()
    (here / "pyproject.toml").write_text("[tool.collabplan]\nseed = 1\n")
    inner = here / "a" / "b"
    inner.mkdir(parents=True)
    (here / "a" / "pyproject.toml").write_text("[project]\nname = 'no section of ours'\n")
    found = find_config(inner)
    assert found is not None
    assert (found.file, found.values["seed"]) == (here / "pyproject.toml", 1)
    (here / "a" / "collabplan.toml").write_text("seed = 2\n")
    nearer = find_config(inner)
    assert nearer is not None
    assert nearer.values["seed"] == 2


def test_keys_go_to_the_commands_that_have_them_and_tables_to_one(here: Path) -> None:
    (here / "model.py").touch()
    config = Config(here / "collabplan.toml", {"target": "model.py:net", "optimize": {"budget-ms": 50}})
    path = f"{here / 'model.py'}:net"
    assert config.defaults(COMMANDS) == {"optimize": {"target": path, "budget_ms": 50}, "profile": {"target": path}}


@pytest.mark.parametrize("values", [{"budget": 5}, {"optimize": {"budget-m": 5}}, {"profile": {"seed": 5}}])
def test_unknown_keys_are_refused(here: Path, values: dict[str, object]) -> None:
    with pytest.raises(CollabplanError, match="unknown key"):
        Config(here / "collabplan.toml", values).defaults(COMMANDS)


@pytest.mark.parametrize("value", [5, [{"seed": 5}]])
def test_a_command_takes_a_table_alone(here: Path, value: object) -> None:
    with pytest.raises(CollabplanError, match=r"put its options below \[optimize\]"):
        Config(here / "collabplan.toml", {"optimize": value}).defaults(COMMANDS)


def test_a_configured_budget_counts_and_the_command_line_wins(run: Run, here: Path) -> None:
    (here / "collabplan.toml").write_text('bandwidth = "20"\n[optimize]\nbudget-ms = -1\n')
    assert "--budget-ms -1" in said(run("optimize"))
    assert "bandwidth '20' has no unit" in said(run("optimize", "--budget-ms", "50"))
    assert "no profile" in said(run("optimize", "--budget-ms", "50", "--bandwidth", "20mbps"))


def test_broken_configuration_is_one_line_and_help_still_works(run: Run, here: Path) -> None:
    (here / "collabplan.toml").write_text("bandwidth = ")
    assert "cannot be read" in run("env").line
    assert run("env").code == 2
    (here / "collabplan.toml").write_text("bandwith = '20mbps'")
    assert "did you mean 'bandwidth'?" in run("env").line


def test_a_configured_flag(run: Run, here: Path) -> None:
    (here / "collabplan.toml").write_text("json = true\n")
    assert run("env").document["collabplan"]


# whose file counts ------------------------------------------------------------------------------------------


@pytest.fixture
def inner(here: Path) -> Path:
    """A folder two levels below one with a configuration."""
    (here / "collabplan.toml").write_text("seed = 1\n")
    folder = here / "a" / "b"
    folder.mkdir(parents=True)
    return folder


def test_the_search_ends_at_the_projects_root(inner: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here / "elsewhere"))
    assert find_config(inner) is None, "no project and not at home: the working directory alone"
    (here / ".git").mkdir()
    assert find_config(inner) is not None
    (here / "a" / "pyproject.toml").write_text("[project]\n")
    assert find_config(inner) is not None, "a package within the repository"
    (here / ".git").rmdir()
    assert find_config(inner) is None, "the package is the project"


def test_the_search_never_leaves_home(inner: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert find_config(inner) is not None
    monkeypatch.setenv("HOME", str(here / "a"))
    (here / ".git").mkdir()
    assert find_config(inner) is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")
@pytest.mark.parametrize("mode", [0o666, 0o664, 0o622])
@pytest.mark.parametrize("name", ["collabplan.toml", "pyproject.toml"])
def test_a_file_that_others_may_write_is_refused(run: Run, here: Path, name: str, mode: int) -> None:
    (here / name).write_text("[tool.collabplan]\njson = true\n" if name == "pyproject.toml" else "json = true\n")
    (here / name).chmod(mode)
    ran = run("env")
    assert (ran.code, f"chmod go-w {here / name}" in ran.line) == (2, True)
    (here / name).chmod(0o644)
    assert run("env").document["configuration"] == str(here / name)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no owner numbers")
def test_another_users_file_is_refused(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "collabplan.toml").write_text("json = true\n")
    owner = (here / "collabplan.toml").stat().st_uid
    if owner == 0:
        os.chown(here / "collabplan.toml", 1234, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert "belongs to another user" in run("env").line


def test_a_project_file_of_others_without_our_section_does_not_matter(run: Run, here: Path) -> None:
    (here / "pyproject.toml").write_text("[project]\nname = 'theirs'\n")
    (here / "pyproject.toml").chmod(0o666)
    assert run("env").code == 0


def test_which_file_was_read_is_said(run: Run, here: Path) -> None:
    assert run("env").err == ""
    (here / "collabplan.toml").write_text("seed = 3\n")
    assert run("env").err == f"collabplan: defaults from {here / 'collabplan.toml'}\n"


OPTIONS = {
    "infer": {key: Option(key.replace("-", "_")) for key in NAMED_ONLY},
    "agreement": {"releases": Option("releases")},
}


@pytest.mark.parametrize("key", sorted(NAMED_ONLY))
def test_trust_and_releases_count_in_a_named_file_alone(here: Path, key: str) -> None:
    for values in ({key: "x"}, {"infer": {key: "x"}}):
        with pytest.raises(CollabplanError, match=f"give --{key} on the command line, or name the file"):
            Config(here / "collabplan.toml", values).defaults(OPTIONS)
        named = Config(here / "collabplan.toml", values, named=True).defaults(OPTIONS)
        assert named["infer"] == {key.replace("-", "_"): "x"}


def test_simulated_releases_are_no_trust(here: Path) -> None:
    config = Config(here / "collabplan.toml", {"agreement": {"releases": 10}})
    assert config.defaults(OPTIONS)["agreement"] == {"releases": 10}


def test_a_named_file_counts_in_place_of_a_found_one(run: Run, here: Path) -> None:
    (here / "collabplan.toml").write_text("releases = 100000\n")
    assert "sets 'releases'" in run("env").line
    (here / "mine.toml").write_text("json = true\n[infer]\nreleases = 2\n")
    ran = run("--config", "mine.toml", "env")
    assert ran.document["configuration"] == "mine.toml"
    assert ran.err == "collabplan: defaults from mine.toml\n"
    assert "absent.toml does not exist; name one that does" in run("--config", "absent.toml", "env").line
    assert "cannot be read: Is a directory" in run("--config", ".", "env").line
    assert "--config is empty" in run("--config", "", "env").line
    (here / "mine.toml").chmod(0o666)
    refused = run("--config", "mine.toml", "env")
    assert (refused.code, "chmod go-w" in refused.line) == (2, os.name != "nt"), "it can decide whom to trust"


# values -----------------------------------------------------------------------------------------------------


def value(here: Path, given: object, **takes: object) -> object:
    config = Config(here / "collabplan.toml", {"infer": {"it": given}})
    return config.defaults({"infer": {"it": Option("it", **takes)}})["infer"]["it"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metavar", "given", "is_path"),
    [
        *[(metavar, "some/file", True) for metavar in ("FILE", "DIR", "PEM", "KEY", "PLAN")],
        ("TARGET", "model.py", True),
        ("TARGET", "model.py:net", True),
        ("TARGET", "package.module:net", False),
        ("TARGET|PLAN", "plan.json", True),
        ("DIR|S3", "shared", True),
        ("DIR|S3", "s3://bucket/prefix", False),
        ("DIR|ID", "bundle", True),
        ("DIR|ID", "0" * 64, False),
        ("HOST:PORT", "host:1", False),
        ("RATE", "20mbps", False),
    ],
)
def test_relative_paths_start_at_the_files_folder(here: Path, metavar: str, given: str, is_path: bool) -> None:
    assert value(here, given, metavar=metavar) == (str(here / given) if is_path else given)
    assert value(here, [given], metavar=metavar, is_list=True) == [str(here / given) if is_path else given]
    assert value(here, str(here / "x"), metavar="FILE") == str(here / "x")


def test_a_command_in_another_folder_finds_what_the_file_names(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "conf").mkdir()
    (here / "conf" / "mine.toml").write_text('[infer]\ntrust = ["sign.pub"]\ndata = ["x.npy"]\n')
    (here / "bundle").mkdir()
    (here / "bundle" / "manifest.json").touch()
    assert "trusted key conf/sign.pub does not exist" in run("--config", "conf/mine.toml", "infer", "bundle").err
    monkeypatch.chdir(here / "bundle")
    assert "trusted key ../conf/sign.pub does not" in run("--config", "../conf/mine.toml", "infer", ".").err


def test_every_option_that_is_a_path_is_known_as_one() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        module = importlib.import_module(f"collabplan.cli.{name}")
        kinds = {} if hasattr(module, "app") else getattr(module, name).__annotations__
        for parameter in command.params:
            if "Path" in str(kinds.get(parameter.name)):
                assert parameter.metavar in PATHS, f"{name} {parameter.name}: metavar {parameter.metavar}"
    assert set(CATALOGUE) == set(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "takes", "says"),
    [
        ("none", {"is_list": True}, 'gives \'it\' "none", but it takes a list: it = ["none"]'),
        (5, {"is_list": True}, "but it takes a list: it = [5]"),
        (["a", "b"], {}, 'gives \'it\' ["a", "b"], but it takes one value, not a list'),
        ([["a"]], {"is_list": True}, "but it takes text or a number"),
        ({"a": 1}, {"metavar": "N"}, "but it takes text or a number (N)"),
        (True, {"metavar": "N"}, "gives 'it' true, but it takes text or a number"),
        ("yes", {"is_flag": True}, "gives 'it' \"yes\", but it takes true or false"),
        (5, {"metavar": "FILE"}, "gives 'it' 5, but it takes text"),
        ("", {"metavar": "FILE"}, "gives 'it' an empty text"),
        ([""], {"is_list": True}, "gives 'it' an empty text"),
    ],
)
def test_a_value_of_another_kind_is_told(here: Path, given: object, takes: dict[str, object], says: str) -> None:
    with pytest.raises(CollabplanError, match=re.escape(says)):
        value(here, given, **takes)


def test_a_text_for_a_list_is_told_on_the_terminal(run: Run, here: Path) -> None:
    (here / "collabplan.toml").write_text('[leakage]\ndefense = "none"\n')
    assert 'it takes a list: defense = ["none"]' in run("leakage").line
