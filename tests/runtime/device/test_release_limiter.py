"""How often an input may be released: the same bytes go again, and what counts as the same."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_plans import images
from collabplan.records import CollabplanError
from collabplan.runtime.device.client import EdgeClient
from collabplan.runtime.device.errors import ReleaseError
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
    return limited.settle([inputs], release(len(inputs))).view("<u4")[:, 0].tolist()


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
        assert limited.settle(inputs, release()).view("<u4").item() == release.made - 1


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


def test_memory_is_bounded_and_the_oldest_is_forgotten() -> None:
    for near in (0.0, 1e-6):
        limited, release = limiter(most_bytes=3000, near=near), Releases()
        x = torch.rand(40, 5)
        for row in x:
            sent(limited, row[None], release)
        assert sent(limited, x[-1:], release) == [39]
        assert sent(limited, x[:1], release) == [41]


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


def test_a_store_that_is_none_of_ours_is_told(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("these are my notes, and they are long enough to be no database\n" * 20)
    path.chmod(0o600)
    with pytest.raises(CollabplanError, match="none of ours"):
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
