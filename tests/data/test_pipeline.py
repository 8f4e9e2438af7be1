"""Batches: the same rows whatever the processes, workers and the step to start at."""

import contextlib
import multiprocessing

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.pipeline import evaluation_batches, train_batches
from rffr_jax.data.sampling import BalancedSampler, UniformSampler
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError

SIZE = 24
BAD = "fake/A/1.png"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six reals, two fakes of A and three of B, each of its own grey; one fake is no image."""
    root = tmp_path_factory.mktemp("faces")
    names = [f"real/{i}.png" for i in range(6)]
    names += [f"fake/A/{i}.png" for i in range(2)] + [f"fake/B/{i}.png" for i in range(3)]
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (SIZE, SIZE), 10 + number).save(root / name)
    (root / BAD).write_bytes(b"no image")
    return load_dataset(f"folder:{root}")


def train(dataset, **changes):
    options = {"batch_size": 4, "seed": 0, "start_step": 0, "num_steps": 6, "balanced": True}
    with contextlib.closing(train_batches(dataset, size=SIZE, **(options | changes))) as batches:
        return list(batches)


def evaluate(dataset, **options):
    with contextlib.closing(evaluation_batches(dataset, size=SIZE, **options)) as batches:
        return list(batches)


def assert_same(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])
            assert value.dtype == other[name].dtype


def test_a_batch_holds_what_its_index_says(dataset):
    for batch in train(dataset):
        assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
            "image": ((4, SIZE, SIZE, 3), np.uint8),
            "label": ((4,), np.int32),
            "weight": ((4,), np.float32),
            "index": ((4,), np.int32),
        }
        for row, index in enumerate(batch["index"].tolist()):
            example = dataset.examples[index]
            assert batch["label"][row] == example.label
            if example.id == BAD:
                assert batch["weight"][row] == 0
                assert not batch["image"][row].any()
            else:
                assert batch["weight"][row] == 1
                np.testing.assert_array_equal(batch["image"][row], dataset.load(index, SIZE))


@pytest.mark.parametrize("balanced", [True, False])
def test_rows_are_those_of_the_sampler(dataset, balanced):
    sampler = (BalancedSampler if balanced else UniformSampler)(dataset.examples, 4, 0)
    rows = [[sampler.index(step, row) for row in range(4)] for step in range(6)]
    batches = train(dataset, balanced=balanced)
    assert [batch["index"].tolist() for batch in batches] == rows


def test_a_run_resumes_at_any_step(dataset):
    whole = train(dataset)
    for start in (1, 4, 6):
        assert_same(train(dataset, start_step=start), whole[start:])


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_global_batch(dataset, count):
    for read in (train, lambda data, **options: evaluate(data, batch_size=4, **options)):
        shares = [read(dataset, process_index=p, process_count=count) for p in range(count)]
        joined = [
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            for parts in zip(*shares, strict=True)
        ]
        assert_same(joined, read(dataset))


@pytest.mark.parametrize("batch_size", [1, 4, 11, 16])
def test_evaluation_sees_every_example_once_in_order(dataset, batch_size):
    batches = evaluate(dataset, batch_size=batch_size)
    assert {batch["image"].shape for batch in batches} == {(batch_size, SIZE, SIZE, 3)}
    index, weight, label = (
        np.concatenate([batch[name] for batch in batches]) for name in ("index", "weight", "label")
    )
    count = len(dataset.examples)
    assert index[:count].tolist() == list(range(count))
    assert label[:count].tolist() == [example.label for example in dataset.examples]
    assert (index[count:] == -1).all()
    assert not weight[count:].any()
    bad = [example.id for example in dataset.examples].index(BAD)
    assert np.flatnonzero(weight[:count] == 0).tolist() == [bad]


def test_worker_processes_change_nothing_and_are_gone_afterwards(dataset):
    # Left in the middle: what the workers had read ahead must not hold them back.
    options = {"size": SIZE, "batch_size": 4, "seed": 0, "balanced": True}
    before = set(multiprocessing.active_children())
    batches = train_batches(dataset, start_step=1, num_steps=100, workers=2, **options)
    with contextlib.closing(batches):
        found = [next(batches) for _ in range(5)]
        assert len(set(multiprocessing.active_children()) - before) == 2
    assert_same(found, train(dataset)[1:6])
    assert not set(multiprocessing.active_children()) - before


def test_mistakes_are_told_at_once_and_not_at_the_first_batch(dataset):
    options = {"size": SIZE, "seed": 0, "start_step": 0, "num_steps": 1}
    with pytest.raises(UserError, match="batch size 3 is odd"):
        train_batches(dataset, batch_size=3, balanced=True, **options)
    with pytest.raises(UserError, match="take a multiple of 3"):
        train_batches(dataset, batch_size=4, balanced=True, process_count=3, **options)
    with pytest.raises(UserError, match="batch size 0"):
        evaluation_batches(dataset, size=SIZE, batch_size=0)
