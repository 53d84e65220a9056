"""A batch that does not fit is halved, and only what lack of memory stopped is run again."""

from __future__ import annotations

import pytest
import torch
from collabplan.graph.batch_size import BatchSize, out_of_memory
from collabplan.records import CollabplanError


def full(size, most):
    if size > most:
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} MiB.\nmore")
    return size


def test_the_batch_is_halved_until_it_fits_and_stays_so():
    batch, tried = BatchSize(64), []

    def run(some):
        tried.append((some.start, some.stop))
        return full(some.stop - some.start, 20)

    assert list(batch.over(40, run)) == [16, 16, 8]
    assert tried == [(0, 40), (0, 32), (0, 16), (16, 32), (32, 40)]
    assert batch.size == 16
    assert list(batch.over(16, run)) == [16]


def test_what_fitted_is_not_run_again():
    batch, room, done = BatchSize(8), iter([8, 4, 8, 8]), []

    def run(some):
        done.append(full(some.stop - some.start, next(room)))

    list(batch.over(16, run))
    assert done == [8, 4, 4]


def test_an_attempt_begins_again_with_the_smaller_batch():
    batch = BatchSize(64)
    assert batch.attempt(lambda: full(batch.size, 10)) == 8


@pytest.mark.parametrize(("batch", "says"), [(BatchSize(2), "one sample"), (BatchSize(4, fixed=True), "4 samples")])
def test_what_never_fits_is_refused_in_one_line(batch, says):
    with pytest.raises(CollabplanError, match=f"the memory does not suffice for {says}.*CUDA out of memory") as refusal:
        list(batch.over(4, lambda some: full(some.stop - some.start, 0)))
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes differ"):
        BatchSize(4).attempt(_fail)


def _fail():
    raise RuntimeError("shapes differ")


@pytest.mark.parametrize(
    "said",
    [
        "MPS backend out of memory (MPS allocated: 17 GB)",
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_devices_say_it_in_words_of_their_own(said):
    assert out_of_memory(RuntimeError(said))
    assert not out_of_memory(ValueError(said))
