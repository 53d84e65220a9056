"""A signed bundle opens for those who trust its key; anything else is refused with one line."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_plans import SkipNet, crossing, images, make
from collabplan.records import CollabplanError
from collabplan.runtime import write_bundle
from damage import OPEN, edit, reseal

SIGNATURE = "manifest.sig"


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """As the documentation makes them: the secret key, and the one to trust."""
    secret, public = folder / f"{name}.key", folder / f"{name}.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", secret], check=True, capture_output=True)
    secret.chmod(0o600)
    subprocess.run(["openssl", "pkey", "-in", secret, "-pubout", "-out", public], check=True, capture_output=True)
    return secret, public


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of two people, and bundles of two plans that the first one signed."""
    folder = tmp_path_factory.mktemp("signing")
    key_pair(folder, "ours")
    key_pair(folder, "theirs")
    for name, nodes in (("one", ("relu", "conv2d_1")), ("another", ("relu",))):
        plan = make(SkipNet(), images, crossing(*nodes))
        options = {"fallback": True, "sign": folder / "ours.key"}
        write_bundle(plan.plan, plan.traced, plan.cut, folder / name, **options)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "here"))


def refusal(path: Path, role: str, trust: list[Path], says: str) -> None:
    with pytest.raises(CollabplanError, match=says) as caught:
        OPEN[role](path, trust=trust)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("role", OPEN)
def test_a_signed_part_opens_for_those_who_trust_its_key_and_for_those_who_do_not_ask(here: Path, role: str) -> None:
    for trust in ([here / "ours.pub"], [here / "theirs.pub", here / "ours.pub"], None):
        assert OPEN[role](here / "one", trust=trust).manifest.part.role == role
    (here / "one" / role / SIGNATURE).unlink()
    assert OPEN[role](here / "one").manifest.part.role == role


@pytest.mark.parametrize("role", OPEN)
def test_unsigned_parts_and_those_that_another_signed_are_refused(here: Path, role: str) -> None:
    refusal(here / "one", role, [here / "theirs.pub"], "signed by none of the trusted keys")
    refusal(here / "one", role, [], "signed by none of the trusted keys")
    (here / "one" / role / SIGNATURE).unlink()
    refusal(here / "one", role, [here / "ours.pub"], r"is not signed; .*collabplan bundle --sign KEY")
    os.mkfifo(here / "one" / role / SIGNATURE)
    refusal(here / "one", role, [here / "ours.pub"], "is not signed")


@pytest.mark.parametrize("role", OPEN)
def test_the_signature_of_another_part_is_refused(here: Path, role: str) -> None:
    ours, other = [here / "ours.pub"], "cloud" if role == "edge" else "edge"
    for source in (here / "another" / role, here / "one" / other):
        shutil.copy(source / SIGNATURE, here / "one" / role / SIGNATURE)
        refusal(here / "one", role, ours, "signed by none of the trusted keys")


@pytest.mark.parametrize("role", OPEN)
def test_one_changed_bit_in_any_file_is_refused(here: Path, role: str) -> None:
    part, ours = here / "one" / role, [here / "ours.pub"]
    for file in [file for file in part.rglob("*") if file.is_file()]:
        data = file.read_bytes()
        for at in (0, len(data) // 2, len(data) - 1):
            file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            refusal(here / "one", role, ours, "signed by none of the trusted keys|changed after it was written")
        file.write_bytes(data)
    assert OPEN[role](here / "one", trust=ours)


SIGNATURES: list[Callable[[bytes], bytes]] = [lambda _: b"", lambda data: data[:-1], lambda data: data + b"\0"]


@pytest.mark.parametrize("change", SIGNATURES)
def test_a_signature_of_another_length_is_refused(here: Path, change: Callable[[bytes], bytes]) -> None:
    file = here / "one" / "cloud" / SIGNATURE
    file.write_bytes(change(file.read_bytes()))
    refusal(here / "one", "cloud", [here / "ours.pub"], "signed by none of the trusted keys")


def test_a_forgery_with_right_hashes_is_refused(here: Path) -> None:
    part = here / "one" / "cloud"
    edit(part / "graph.json", lambda graph: graph["nodes"].pop())
    reseal(part)
    refusal(here / "one", "cloud", [here / "ours.pub"], "signed by none of the trusted keys")


def test_symbolic_links_are_refused_wherever_they_point(here: Path) -> None:
    part, ours = here / "one" / "cloud", [here / "ours.pub"]
    for name in ("weights.safetensors", "manifest.json", SIGNATURE):
        moved = (part / name).rename(here / name)
        (part / name).symlink_to(moved)
        refusal(here / "one", "cloud", ours, f"holds the symbolic link {name}")
        (part / name).unlink()
        moved.rename(part / name)
    assert OPEN["cloud"](here / "one", trust=ours)
    shutil.move(here / "one" / "edge" / "fallback", here / "moved")
    (here / "one" / "edge" / "fallback").symlink_to(here / "moved")
    refusal(here / "one", "edge", ours, "holds the symbolic link fallback")


def test_openssl_checks_the_signature_too(here: Path) -> None:
    part = here / "one" / "edge"
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(here / "ours.pub"), "-rawin"]
    subprocess.run([*command, "-in", str(part / "manifest.json"), "-sigfile", str(part / SIGNATURE)], check=True)


def test_keys_that_are_none_are_refused_before_anything_is_opened(here: Path) -> None:
    refusal(here / "absent", "cloud", [here / "ours.pub"], "holds no cloud part")
    refusal(here / "one", "cloud", [here / "absent.pub"], "does not exist; .*openssl pkey -in sign.key -pubout")
    refusal(here / "one", "cloud", [here / "ours.key"], "is no Ed25519 public key in PEM")
    refusal(here / "one", "cloud", [here / "ours.pub", here / "one"], "is not a plain file|cannot be read")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")
def test_a_trusted_key_that_others_may_change_is_refused(here: Path) -> None:
    (here / "ours.pub").chmod(0o664)
    refusal(here / "one", "cloud", [here / "ours.pub"], "may be changed by others; run: chmod go-w")


@pytest.mark.parametrize(
    ("make_key", "says"),
    [
        (lambda file: file.chmod(0o640), "may be read by others; run: chmod 600"),
        (lambda file: file.unlink(), "does not exist; make one with"),
        (lambda file: file.write_text("x"), "is no Ed25519 key in PEM"),
        (lambda file: shutil.copy(file.with_name("ours.pub"), file), "is no Ed25519 key in PEM"),
        (
            lambda file: file.write_bytes(
                subprocess.run(
                    ["openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x"],
                    check=True,
                    capture_output=True,
                ).stdout
            ),
            "without a passphrase",
        ),
    ],
)
def test_a_key_that_is_not_secret_or_none_signs_nothing(
    here: Path, make_key: Callable[[Path], object], says: str
) -> None:
    made = make(SkipNet(), images, crossing("relu"))
    key = here / "ours.key"
    make_key(key)
    if key.exists() and "read by others" not in says:
        key.chmod(0o600)
    with pytest.raises(CollabplanError, match=says):
        write_bundle(made.plan, made.traced, made.cut, here / "new", sign=key)
    assert not (here / "new").exists()


def test_the_signature_of_an_older_bundle_does_not_stay(here: Path) -> None:
    made = make(SkipNet(), images, crossing("relu"))
    for sign in (here / "ours.key", None):
        write_bundle(made.plan, made.traced, made.cut, here / "new", sign=sign)
        assert (here / "new" / "edge" / SIGNATURE).exists() == (sign is not None)
