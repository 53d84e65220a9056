"""How often an input may be released: the same bytes go again, and what counts as the same."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_plans import images
from collabplan.records import CollabplanError
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.device.errors import ReleaseError, UnreachableError
from collabplan.runtime.device.release_limiter import ReleaseLimiter, ReleasePolicy
from collabplan.runtime.server.server import CloudServer
from collabplan.runtime.wire.framing import REQUEST_HEADER_BYTES
from defense_records import defense_record
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import serving, written
from torch import Tensor

SIZE = 4


def limiter(plan: str = "plan", **policy: object) -> ReleaseLimiter:
    return ReleaseLimiter(ReleasePolicy(**policy), plan, SIZE)  # type: ignore[arg-type]


class Releases:
    """Makes a release that differs from all others."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, samples: int = 1) -> np.ndarray:
        self.made += samples
        numbers = np.arange(self.made - samples, self.made, dtype="<u4")
        return numbers.view(np.uint8).reshape(samples, SIZE)


def sent(limited: ReleaseLimiter, inputs: Tensor, release: Releases) -> list[int]:
    return limited.settle([inputs], release(len(inputs))).rows.view("<u4")[:, 0].tolist()


def test_an_exact_repeat_sends_the_first_bytes_again_in_any_batch() -> None:
    limited, release = limiter(), Releases()
    x = torch.rand(3, 5)
    assert sent(limited, x, release) == [0, 1, 2]
    assert sent(limited, x[[2, 0]], release) == [2, 0]
    assert sent(limited, torch.stack([x[1], torch.rand(5), x[1]]), release) == [1, 6, 1]
    assert sent(limited, torch.full((2, 5), 0.5), release) == [8, 8], "twice within one batch"
    assert limited.repeated == 5


def test_the_first_q_releases_are_new_ones() -> None:
    limited, release = limiter(releases=3), Releases()
    x = torch.rand(1, 5)
    assert [sent(limited, x, release) for _ in range(5)] == [[0], [1], [2], [0], [0]]


def test_or_more_are_refused() -> None:
    limited, release = limiter(releases=2, beyond="refuse"), Releases()
    x = torch.rand(1, 5)
    assert [sent(limited, x, release) for _ in range(2)] == [[0], [1]]
    with pytest.raises(ReleaseError, match="released 2 times"):
        sent(limited, x, release)


def test_dtype_shape_and_further_inputs_belong_to_the_input() -> None:
    limited, release = limiter(), Releases()
    zeros = torch.zeros(1, 2)
    for inputs in ([zeros], [zeros.double()], [zeros.reshape(1, 1, 2)], [zeros, zeros], [zeros, zeros + 1]):
        assert limited.settle(inputs, release()).rows.view("<u4").item() == release.made - 1


@given(st.integers(1, 200), st.floats(0, 0.2), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_every_near_duplicate_is_found_and_nothing_else(size: int, distance: float, seed: int) -> None:
    near = 0.1
    generator = torch.Generator().manual_seed(seed)
    limited, release = limiter(near=near), Releases()
    crowd = torch.rand(20, size, generator=generator) + 10
    first = torch.rand(1, size, generator=generator)
    sent(limited, crowd, release)
    (number,) = sent(limited, first, release)
    change = torch.rand(1, size, generator=generator) + 0.1
    change *= torch.randint(0, 2, (1, size), generator=generator) * 2 - 1
    second = first + change * (distance / change.abs().mean())
    found = float((second - first).abs().double().mean())
    (again,) = sent(limited, second, release)
    if abs(found - near) > 1e-5:
        assert (again == number) == (found < near)


def test_near_is_measured_from_what_was_released_not_from_its_near_duplicates() -> None:
    limited, release = limiter(near=0.1), Releases()
    drift = [torch.full((1, 4), 0.08 * step) for step in range(4)]
    assert [sent(limited, x, release)[0] for x in drift] == [0, 0, 2, 2]


@pytest.mark.parametrize("near", [0.0, 1e-6])
def test_a_flood_gets_no_second_release_of_an_input_and_memory_stays_bounded(near: float) -> None:
    limited, release = limiter(most_bytes=2**18, near=near), Releases()
    known = torch.rand(20, 5)
    assert sent(limited, known, release) == list(range(20))
    for _ in range(24):
        with contextlib.suppress(ReleaseError):
            sent(limited, torch.rand(400, 5), release)
        for row in range(0, 20, 4):
            with contextlib.suppress(ReleaseError):  # its bytes may have been dropped; then nothing is sent
                assert sent(limited, known[row : row + 1], release) == [row]
    with pytest.raises(ReleaseError, match="the memory of releases is full, and no input may be forgotten"):
        sent(limited, torch.rand(400, 5), release)


def test_a_repeat_whose_bytes_memory_dropped_is_refused() -> None:
    size = 20_000
    limited = ReleaseLimiter(ReleasePolicy(most_bytes=2**18), "plan", size)
    inputs = torch.rand(60, 5)
    for index in range(60):
        limited.settle([inputs[index : index + 1]], np.full((1, size), index, dtype=np.uint8))
    with pytest.raises(ReleaseError, match="no room for its bytes"):
        limited.settle([inputs[:1]], np.zeros((1, size), dtype=np.uint8))
    assert (limited.settle([inputs[-1:]], np.zeros((1, size), dtype=np.uint8)).rows == 59).all()


def test_a_refused_request_counts_for_none_of_its_samples() -> None:
    limited, release = limiter(beyond="refuse"), Releases()
    x = torch.rand(2, 5)
    sent(limited, x[1:], release)
    with pytest.raises(ReleaseError, match="released 1 times"):
        sent(limited, x, release)
    sent(limited, x[:1], release)


def test_what_never_left_is_released_anew_unless_another_sent_it(tmp_path: Path) -> None:
    x, release = torch.rand(1, 5), Releases()
    one, other = (limiter(store=tmp_path / "releases", near=0.01) for _ in range(2))
    claims = one.settle([x], release()).claims
    one.take_back(claims)
    assert sent(one, x + 0.001, release) == [1], "the first was never released"
    claims = one.settle([x + 1], release()).claims
    assert sent(other, x + 1, release) == [2], "the other client sends what the first was about to send"
    one.take_back(claims)
    assert sent(one, x + 1, release) == [2]


def test_two_clients_on_one_store_decide_as_one(tmp_path: Path) -> None:
    inputs, near = torch.rand(60, 20), 0.01
    seen: list[list[int]] = [[], []]
    barrier = threading.Barrier(2)

    def client(which: int) -> None:
        limited = ReleaseLimiter(ReleasePolicy(store=tmp_path / "releases", near=near), "plan", SIZE)
        for index, row in enumerate(inputs):
            barrier.wait(20)
            mine = np.array([[index, which, 0, 0]], dtype=np.uint8)
            settled = limited.settle([row[None] + which * 0.004], mine)  # near-duplicates, not repeats
            seen[which].append(int(settled.rows[0, 1]))
            assert settled.rows[0, 0] == index
        limited.close()

    threads = [threading.Thread(target=client, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen[0]) == 60
    assert seen[0] == seen[1], "each input left under the mask of whoever decided first"


def test_a_client_waits_while_another_creates_the_store(tmp_path: Path) -> None:
    path = tmp_path / "releases"
    path.touch(0o600)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # SQLite lets nobody wait for this who switches the journal
    threading.Timer(0.2, lambda: other.execute("ROLLBACK")).start()
    limiter(store=path).close()
    other.close()


def test_a_client_without_near_keeps_what_one_with_it_needs(tmp_path: Path) -> None:
    x, release = torch.rand(1, 5), Releases()
    exact = limiter(store=tmp_path / "releases")
    near = limiter(store=tmp_path / "releases", near=0.01)
    assert sent(exact, x, release) == [0]
    assert sent(near, x + 0.001, release) == [0]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), max_size=12), st.integers(1, 3))
@settings(max_examples=12, deadline=None)
def test_no_order_of_clients_and_lost_requests_releases_an_input_more_often(
    steps: list[tuple[int, int, bool]], releases: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clients = [limiter(store=Path(folder) / "releases", releases=releases) for _ in range(3)]
        release, inputs, left = Releases(), torch.rand(4, 5), [set[int]() for _ in range(4)]
        for client, which, leaves in steps:
            settled = clients[client].settle([inputs[which : which + 1]], release())
            if leaves:
                left[which].add(settled.rows.view("<u4").item())
            else:
                clients[client].take_back(settled.claims)
        for each in clients:
            each.close()
        assert all(len(masks) <= releases for masks in left)


def test_a_store_remembers_across_restarts_and_is_its_owners_alone(tmp_path: Path) -> None:
    path, release, x = tmp_path / "releases.sqlite", Releases(), torch.rand(2, 5)
    for near, expected in ((0.01, [0, 1]), (0.01, [0, 1]), (0.0, [0, 1])):
        limited = limiter(store=path, near=near, releases=1)
        assert sent(limited, x, release) == expected
        if near:
            assert sent(limited, x + 0.001, release) == expected
        limited.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(CollabplanError, match="belongs to another plan"):
        limiter("another", store=path)
    path.chmod(0o644)
    with pytest.raises(CollabplanError, match="chmod 600"):
        limiter(store=path)


# with a client ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("releases") / "bundle"
    written(folder, defense_record(dropout="element", rate=0.5))
    return folder


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[CloudServer]:
    with serving(bundle) as started:
        yield started


def bodies(client: EdgeClient, *inputs: tuple[Tensor, ...]) -> list[bytes]:
    """What `client` would send for some inputs."""
    return [client.prepare(each).frame[REQUEST_HEADER_BYTES:] for each in inputs]


def test_a_client_sends_old_bytes_again_unless_it_has_no_policy(bundle: Path, server: CloudServer) -> None:
    x = images(1)
    with EdgeClient(bundle, server.address, policy=None) as free, EdgeClient(bundle, server.address) as held:
        assert len(set(bodies(free, x, x, x))) == 3
        assert len(set(bodies(held, x, x, x))) == 1
        assert held.counts.repeated == 2
        first, second = held.infer(x), held.infer(x)
        assert torch.equal(first["logits"], second["logits"])
        batch = (torch.cat([*x, *images(2)]),)
        size = len(bodies(held, x)[0])
        assert bodies(held, batch)[0][:size] == bodies(held, x)[0]


def test_a_refusal_is_raised_before_anything_is_sent(bundle: Path, server: CloudServer) -> None:
    policy = ReleasePolicy(beyond="refuse")
    with EdgeClient(bundle, server.address, policy=policy) as client:
        client.infer(images(1))
        bytes_sent = client.counts.bytes_sent
        with pytest.raises(ReleaseError):
            client.infer(images(1))
        assert client.counts.bytes_sent == bytes_sent


def test_an_input_whose_request_never_left_is_no_release(bundle: Path, server: CloudServer, tmp_path: Path) -> None:
    policy, x = ReleasePolicy(beyond="refuse", store=tmp_path / "releases"), images(1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    with EdgeClient(bundle, nobody, policy=policy, retries=0, connect_timeout_s=0.5) as client:
        request = client.submit(client.prepare(x))
        with pytest.raises(UnreachableError):
            client.collect(request)
        with pytest.raises(CollabplanError, match="given up"):
            client.collect(client.submit(request))
    with EdgeClient(bundle, server.address, policy=policy) as client:
        client.infer(x)
        with pytest.raises(ReleaseError, match="released 1 times"):
            client.infer(x)


def test_an_input_whose_request_may_have_left_is_a_release(bundle: Path, server: CloudServer, tmp_path: Path) -> None:
    policy, x = ReleasePolicy(beyond="refuse", store=tmp_path / "releases"), images(1)
    with EdgeClient(bundle, server.address, policy=policy, retries=0, timeout_s=1e-6) as client:
        with pytest.raises(UnreachableError):
            client.infer(x)
        with pytest.raises(ReleaseError, match="released 1 times"):
            client.infer(x)


def test_a_locked_store_follows_on_error(bundle: Path, server: CloudServer, tmp_path: Path) -> None:
    policy = ReleasePolicy(store=tmp_path / "releases", wait_s=0.02)
    with EdgeClient(bundle, server.address, policy=policy) as client:
        holder = sqlite3.connect(tmp_path / "releases", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        (answer,) = client.stream([images(1)], on_error="yield")
        assert isinstance(answer, ReleaseError)
        with pytest.raises(ReleaseError, match="in use by another program"):
            next(client.stream([images(1)]))
        assert client.counts.bytes_sent == 0
        holder.execute("ROLLBACK")
        assert client.infer(images(1)) is not None
