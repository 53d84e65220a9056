"""`serve` and `infer`: two processes, one answer; what is wrong is told in one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_plans import images
from collabplan.runtime import EdgeClient, UnreachableError, open_cloud, open_edge
from command_line import Run
from defense_records import defense_record
from safetensors.torch import load_file, save_file
from serving import written

COMMAND = (sys.executable, "-c", "from collabplan.cli.main import main; main()")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "bundle"
    written(folder, defense_record(), fallback=True)
    return folder


@pytest.fixture(scope="module")
def served(bundle: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of `collabplan serve` in a process of its own."""
    command = [*COMMAND, "serve", str(bundle), "--listen", "127.0.0.1:0", "--threads", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read() if process.stderr else ""
            text += line
        yield json.loads(text)["address"], process
        process.kill()


@pytest.fixture
def inputs(here: Path) -> torch.Tensor:
    x = torch.cat([images(3)[0], images(1)[0], images(3)[0]])
    np.save(here / "x.npy", x.numpy())
    save_file({"x": x}, here / "x.safetensors")
    return x


def test_a_device_asks_a_server_and_writes_its_outputs(
    served: tuple[str, subprocess.Popen[str]], bundle: Path, here: Path, run: Run, inputs: torch.Tensor
) -> None:
    edge, cloud = open_edge(bundle), open_cloud(bundle)
    with torch.no_grad():
        expected = torch.cat(
            [
                cloud.program(*cloud.defense.receive(edge.defense.release(edge.program(x[None]), torch.Generator())))[
                    "logits"
                ]
                for x in inputs
            ]
        )
    ask = ("infer", str(bundle / "edge"), "--cloud", served[0], "--threads", "1")
    ran = run(*ask, "--data", "x.npy", "-o", "y.safetensors", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["requests"] == 7
    assert ran.document["repeated"] == 3, "each input leaves once"
    outputs = load_file(here / "y.safetensors")
    assert torch.equal(outputs["logits"], expected)
    assert outputs["batch"].tolist() == [1] * 7

    ran = run(*ask, "--data", "x.safetensors", "--batch", "2", "--samples", "3", "-o", "y.json")
    assert ran.code == 0, ran.err
    assert "2 requests" in ran.out
    documents = json.loads((here / "y.json").read_text())
    assert [document["batch"] for document in documents] == [2, 1]
    assert torch.allclose(torch.tensor(documents[0]["logits"]), expected[:2], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("inputs")
def test_undefended_tensors_need_the_servers_leave(
    served: tuple[str, subprocess.Popen[str]], bundle: Path, run: Run
) -> None:
    ran = run("infer", str(bundle), "--cloud", served[0], "--data", "x.npy", "--wire", "fp32")
    assert ran.code == 2
    assert "--allow-undefended" in ran.err
    assert "hides NOTHING" in " ".join(ran.out.split())


@pytest.mark.usefixtures("inputs")
def test_without_a_server_there_is_one_line_or_the_fallback(bundle: Path, run: Run) -> None:
    ask = ("infer", str(bundle), "--cloud", "127.0.0.1:9", "--data", "x.npy", "--retries", "0", "--threads", "1")
    ran = run(*ask)
    assert ran.code == 2
    assert "cannot be used: UNAVAILABLE" in ran.err
    assert ran.err.count("\n") == 1
    ran = run(*ask, "--fallback", "-o", "y.safetensors", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["fallbacks"] == 7


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("infer", "BUNDLE"), "give the inputs"),
        (("infer", "BUNDLE", "--data", "x.npy", "--model", "model.py"), "give the inputs"),
        (("infer", "BUNDLE", "--data", "absent.npy"), "cannot be read as .npy"),
        (("infer", "BUNDLE", "--data", "x.npy", "--data", "x.npy"), "one input too many"),
        (("infer", "BUNDLE", "--data", "notes.txt"), "cannot be read as safetensors"),
        (("infer", "BUNDLE", "--data", "pickled.npy"), "cannot be read as .npy"),
        (("infer", "BUNDLE", "--data", "x.npy", "-o", "y.pt"), "not as y.pt"),
        (("infer", "BUNDLE", "--data", "x.npy", "--key-file", "key"), "no key is used"),
        (("infer", "BUNDLE", "--data", "x.npy", "--tls-cert", "a.pem"), "belong together"),
        (("infer", "BUNDLE", "--data", "x.npy", "--cloud", "192.0.2.1:1"), "plaintext can be read"),
        (("serve", "BUNDLE", "--listen", "0.0.0.0:0"), "plaintext can be read"),
        (("serve", "BUNDLE", "--tls-cert", "a.pem"), "belong together"),
        (("serve", "BUNDLE/edge"), "needs the cloud part"),
        (("serve", "BUNDLE", "--listen", "nowhere"), "is not an address"),
        (("serve", "BUNDLE", "--micro-batch", "4"), "without --micro-batch"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    bundle: Path, here: Path, run: Run, arguments: tuple[str, ...], says: str
) -> None:
    (here / "notes.txt").write_text("no tensors")
    np.save(here / "pickled.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    ran = run(*(argument.replace("BUNDLE", str(bundle)) for argument in arguments))
    assert ran.code == 2
    assert says in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.usefixtures("inputs")
def test_an_unsigned_bundle_and_one_that_another_signed_are_refused_where_a_key_is_trusted(
    bundle: Path, tmp_path: Path, run: Run
) -> None:
    ours, theirs = (tmp_path / f"{name}.key" for name in ("ours", "theirs"))
    for key in (ours, theirs):
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, capture_output=True
        )
        key.chmod(0o600)
        public = str(key.with_suffix(".pub"))
        subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-out", public], check=True, capture_output=True)
    signed = tmp_path / "signed"
    written(signed, defense_record(), sign=theirs)
    trust = ("--trust", str(ours.with_suffix(".pub")))
    for folder, says in ((bundle, "is not signed"), (signed, "signed by none of the trusted keys")):
        for command in (("serve", str(folder)), ("infer", str(folder), "--data", "x.npy")):
            ran = run(*command, *trust)
            assert ran.code == 2
            assert says in ran.line
    ran = run("infer", str(signed), "--data", "x.npy", "--cloud", "127.0.0.1:9", "--retries", "0", *trust,
              "--trust", str(theirs.with_suffix(".pub")))  # fmt: skip
    assert "cannot be used: UNAVAILABLE" in ran.line, "it was opened"


def test_a_server_ends_well_on_sigterm(served: tuple[str, subprocess.Popen[str]], bundle: Path, run: Run) -> None:
    address, process = served
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "stopping: what runs is finished" in errors
    assert "Traceback" not in errors
    assert run("infer", str(bundle), "--cloud", address).code == 2


STUCK = """
import sys, time
from collabplan.cli.main import main
from collabplan.workflows import serve

open_cloud = serve.open_cloud

def stuck(folder, trust):
    part = open_cloud(folder, trust=trust)
    part.program.forward = lambda *_: time.sleep(20)
    return part

serve.open_cloud = stuck
main(sys.argv[1:])
"""


def test_a_run_that_goes_on_does_not_keep_a_server_from_ending(bundle: Path) -> None:
    command = [sys.executable, "-c", STUCK, "serve", str(bundle), "--listen", "127.0.0.1:0", "--threads", "1", "--json"]
    ask = ("--grace-s", "0.5")
    with subprocess.Popen([*command, *ask], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, f"the server ended: {process.stderr.read() if process.stderr else ''}"
            text += line
        with EdgeClient(bundle, json.loads(text)["address"], retries=0) as client:
            waiting = client.submit(client.prepare(images(1)))
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            _, errors = process.communicate(timeout=15)
            assert time.monotonic() - began < 5
            assert process.returncode == 0, errors
            assert "the grace is over" in errors
            with pytest.raises(UnreachableError):
                client.collect(waiting)
