"""Mutated files and messages against everything that reads them: none is taken for what it is not, none ends or holds
the process.

Each mutant is read in a child process with bounded memory and time. It counts as

* refused: with collabplan's own error, in one line;
* equal: it says what the original says (white space, or no byte changed);
* valid: it says something else that its kind of file may say, and nothing guards its content: a plan on its own with
  another figure, a part that was sealed again and is not signed, a request with a right checksum;
* accepted: it is read although its hash, signature, checksum or published schema should have caught the change;
* raised: an error that is not collabplan's own;
* crashed, hung.

`operator_fuzz.py` does the same to the operators that a file may name.

    .venv/bin/python benchmarks/hostile.py [--share 1.0] [--match REGEX]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import torch
from children import Outcome, run_cases
from hostile_subjects import Subject, subjects
from report import bar, machine

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from target_files import DATA, NET

PROGRAM = str(Path(sys.executable).with_name("collabplan"))
COMMANDS = (
    "profile model.py --seconds 1 --threads 1 -o profile.json",
    "leakage model.py --defense dropout:element:0,0.5 --samples 100 -o leakage.json",
    "attack model.py --attacks ridge --defense dropout:element:0,0.5 -o audit.json",
    "optimize --budget-ms 5000 --max-accuracy-drop 1 --trials 21 --draws 1 --no-audit --max-edge-params 60",
    "bundle plan.json -o bundle --with-fallback --sign sign.key",
)


def originals(folder: Path) -> None:
    """Write one file of each kind, with the commands that a user gives."""
    (folder / "model.py").write_text(NET + DATA)
    keys = (
        ("genpkey", "-algorithm", "ed25519", "-out", "sign.key"),
        ("pkey", "-in", "sign.key", "-pubout", "-out", "sign.pub"),
    )
    os.umask(0o077)
    for arguments in keys:
        subprocess.run(["openssl", *arguments], check=True, cwd=folder)
    os.chdir(folder)
    for command in COMMANDS:
        done = subprocess.run([PROGRAM, *command.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")


def attempt(name: str, subject: Subject, seed: int) -> Outcome:
    """Read all mutants of a subject."""
    return run_cases(lambda index: subject.prepare(random.Random(f"{name} {seed} {index}")), subject.mutants)


def main() -> None:
    """One line per subject, then the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="subjects whose name this regular expression finds")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    started, total, ended = time.perf_counter(), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        originals(Path(folder))
        for name, subject in subjects(Path(folder), options.share).items():
            if not re.search(options.match, name):
                continue
            outcome = attempt(name, subject, options.seed)
            total += outcome.counts
            ended.update(crashed=len(outcome.crashed), hung=len(outcome.hung))
            odd = {word: outcome.examples[word] for word in ("accepted", "raised") if word in outcome.examples}
            counts: dict[str, object] = {"subject": name, **outcome.counts}
            line = counts | {"crashed": outcome.crashed, "hung": outcome.hung} | odd
            print(json.dumps(line), flush=True)
        os.chdir("/")
    tried = total.total() + ended.total()
    bar("3.1", "mutated files and messages", tried, "mutants", refused=total["refused"], equal=total["equal"],
        valid=total["valid"], seconds=round(time.perf_counter() - started))  # fmt: skip
    for word, count in (("accepted", total["accepted"]), ("raised", total["raised"]), *ended.items()):
        bar("3.1", word, count, "mutants", target=0, holds=tried > 0 and count == 0, of=tried)
    machine(("torch", "pydantic", "safetensors"))


if __name__ == "__main__":
    main()
