"""A model of tokens at the command line: token recovery in the index's place, and no advice to publish a text."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Run

TOKENS = """
import torch
from torch import nn

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, ids):
        return self.head(torch.relu(self.table(ids)).mean(1))

def model():
    torch.manual_seed(0)
    return Encoder()

example_inputs = (torch.zeros(1, 5, dtype=torch.int64),)

def validation_data():
    ids = torch.randint(0, 20, (120, 5), generator=torch.Generator().manual_seed(1))
    return ids, (ids.sum(1) % 2)
"""


def test_the_table_says_token_recovery_and_who_read_best(here: Path, run: Run) -> None:
    (here / "tokens.py").write_text(TOKENS)
    ran = run("leakage", "tokens.py", "--defense", "dropout:element:0,0.3", "-o", "leakage.json")
    assert ran.code == 0, ran.err
    assert "token recovery: share of the tokens read exactly" in ran.err + ran.out
    rows = json.loads((here / "leakage.json").read_text())["rows"]
    table = [row["leakage"] for row in rows if row["cut_name"] == "table"]
    assert [leakage["index_of"] for leakage in table] == ["token recovery"] * 2
    assert table[0]["index"]["value"] == 1
    assert table[0]["token_attacker"] == "nearest"
    assert all(row["leakage"]["dfil"] is None for row in rows)


def test_attack_refuses_tokens_and_says_keep_them_private(here: Path, run: Run) -> None:
    (here / "tokens.py").write_text(TOKENS)
    ran = run("attack", "tokens.py")
    assert ran.code == 2
    assert "no attack on token inputs yet" in ran.err
    assert "Keep the tokens private" in ran.err
    assert "in public_inputs" not in ran.err


def test_a_plan_is_steered_and_explained_by_token_recovery(here: Path, run: Run) -> None:
    (here / "tokens.py").write_text(TOKENS)
    assert run("profile", "tokens.py", "--seconds", "0.3", "--threads", "1").code == 0
    asked = ("--budget-ms", "5000", "--max-accuracy-drop", "1", "--trials", "2", "--draws", "1", "--result-at", "cloud")
    ran = run("optimize", "tokens.py", *asked, "-o", "plan.json")
    assert ran.code == 0, ran.err
    assert "NOT AUDITED: there is no attack on token inputs yet" in " ".join((ran.err + ran.out).split())
    plan = json.loads((here / "plan.json").read_text())
    assert plan["chosen"]["leakage"]["index_of"] == "token recovery"
    assert "token recovery at most" in plan["headline"]
    explained = run("explain", "plan.json")
    assert "Token recovery:" in explained.out + explained.err
