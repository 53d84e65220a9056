"""The commands by name, and the page of `collabplan --help`. Imports no command and no library, since it answers first.

A summary is the first sentence of its command's docstring; a test compares them.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

WORK, YOURSELF = "Commands", "Help yourself"
ABOUT = """Decide with evidence where to split a PyTorch model between an edge device and an untrusted cloud.

A target is path.py, path.py:NAME or package.module:NAME. Loading it runs its Python code: give only files that you \
trust.

Defaults come from [tool.collabplan] in pyproject.toml or from collabplan.toml, nearest folder upwards, up to the \
project's root. Relative paths start at the file's folder. Trust and releases count only if the file is named with \
--config."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its module and function have its name, `cache` is a group of commands."""

    name: str
    summary: str
    panel: str = WORK


COMMANDS = {
    command.name: command
    for command in (
        Command("profile", "Measure a model on this machine, node by node and cut by cut."),
        Command("optimize", "Search where to cut and how to defend, within budgets; write the plan."),
        Command("front", "List the front of the search that made a plan, by budgets of your own, and make a plan of "
                "another row."),
        Command("explain", "Say in words why this cut and this defense were chosen, what was rejected and by how "
                "much."),
        Command("report", "Write a page that shows a plan, what it costs and leaks, and how sure that is."),
        Command("export", "Write latency by node and leakage by cut for other tools: Model Explorer, Perfetto, "
                "Netron."),
        Command("worker", "Measure candidates of a study until it is complete, beside all other workers."),
        Command("split", "Write the two halves of a plan and check that they compose to the model, bit for bit."),
        Command("bundle", "Write the folder that deploys a plan: DIR/edge for the device, DIR/cloud for the server."),
        Command("serve", "Answer devices with the cloud half of a bundle, until SIGTERM or Ctrl-C."),
        Command("infer", "Run the edge half of a bundle on data, and ask a server for the rest."),
        Command("link", "Measure bandwidth (up and down), round trip, their spread and TCP's slow start to a running "
                "server."),
        Command("verify", "Run the two halves of a plan and print predicted against measured: latency part by part, "
                "and accuracy."),
        Command("leakage", "Estimate how much each cut leaks about the private input, by depth and defense."),
        Command("attack", "Run attacks against each cut and defense, and report the worst case for each threat "
                "model."),
        Command("certify", "Attack a plan until it may be signed off or has fallen, and write the certificate into "
                "it."),
        Command("agreement", "Rank correlation between every estimate and what attacks really recovered, beside "
                "trivial proxies."),
        Command("init", "Write a commented target file: a small model on scikit-learn's digits that works as it is.",
                YOURSELF),
        Command("env", "Print versions, hardware and configuration: what a bug report needs.", YOURSELF),
        Command("cache", "List or clear what is kept in .collabplan.", YOURSELF),
    )
}  # fmt: skip
OPTIONS = (
    ("--version", "Print the version."),
    ("--config FILE", "Read the options' defaults here, trust and releases too."),
    ("--debug", "Show the traceback of an error."),
    ("--install-completion", "Install completion for this shell."),
    ("--show-completion", "Print completion for this shell."),
    ("-h, --help", "Show this page."),
)
EXAMPLES = (
    ("write a target file to start from, with a model and data that work", "collabplan init"),
    ("measure the model on this machine, node by node and cut by cut", "collabplan profile model.py"),
    ("search cut and defense; write plan.json", "collabplan optimize --budget-ms 50"),
    ("see how much each cut leaks about the input", "collabplan leakage"),
    ("see what attackers really recover under the plan", "collabplan attack plan.json"),
    ("write what the device and the cloud each need to run it", "collabplan bundle plan.json -o bundle"),
    ("answer devices with the cloud's part", "collabplan serve bundle"),
    ("and ask it, from the device", "collabplan infer bundle --data x.npy -o outputs.safetensors"),
)


def page() -> str:
    """The page of `collabplan --help`, as wide as the terminal and 100 columns at most."""
    width = min(shutil.get_terminal_size().columns, 100)
    lines = [_bold("Usage: collabplan [OPTIONS] COMMAND [ARGS]..."), ""]
    for paragraph in ABOUT.split("\n\n"):
        lines += [*textwrap.wrap(paragraph, width), ""]
    for panel in (WORK, YOURSELF):
        rows = [(command.name, command.summary) for command in COMMANDS.values() if command.panel == panel]
        lines += _section(panel, rows, width)
    lines += _section("Options", OPTIONS, width)
    lines.append(_bold("Examples"))
    for what, command in EXAMPLES:
        lines += [f"  # {what}", f"  {command}"]
    lines += ["", "Options of a command: collabplan COMMAND --help"]
    return "\n".join(lines) + "\n"


def _section(title: str, rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    left = max(len(name) for name, _ in rows) + 4
    lines = [_bold(title)]
    for name, text in rows:
        wrapped = textwrap.wrap(text, width - left) or [""]
        lines.append(f"  {name:<{left - 2}}{wrapped[0]}")
        lines += [" " * left + line for line in wrapped[1:]]
    return [*lines, ""]


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text
