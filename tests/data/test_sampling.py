"""The order of training: every batch a function of seed and step alone."""

import collections
import dataclasses
import pickle

import pytest

from rffr_jax.data.sampling import (
    BalancedSampler,
    PairSampler,
    SourcePairSampler,
    UniformSampler,
    WeightedSampler,
    originals,
)
from rffr_jax.errors import UserError
from rffr_jax.examples import Example


def example(name, method="real"):
    return Example(
        id=name,
        path=name,
        label=int(method != "real"),
        dataset="test",
        method=method,
        video=name,
        frame=0,
        source=name,
    )


def mixed(reals, **fakes):
    examples = [example(f"real{i}") for i in range(reals)]
    for method, count in fakes.items():
        examples += [example(f"{method}{i}", method) for i in range(count)]
    return examples


def walk(sampler, batch_size, steps):
    return [sampler.index(step, row) for step in range(steps) for row in range(batch_size)]


def test_uniform_takes_every_example_once_an_epoch():
    order = walk(UniformSampler(mixed(10), 4, seed=1), 4, steps=10)
    epochs = [order[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_uniform_order_does_not_depend_on_the_batch_size():
    examples = mixed(10)
    four, eight = UniformSampler(examples, 4, seed=1), UniformSampler(examples, 8, seed=1)
    assert walk(four, 4, steps=10) == walk(eight, 8, steps=5)


@pytest.mark.parametrize("kind", [UniformSampler, BalancedSampler, SourcePairSampler])
def test_any_row_can_be_asked_for_in_any_order(kind):
    examples = mixed(7, A=5, B=3)
    if kind is SourcePairSampler:
        examples = SOURCES
    forward = walk(kind(examples, 6, seed=2), 6, steps=20)
    backward = kind(examples, 6, seed=2)
    pairs = [(step, row) for step in range(20) for row in range(6)]
    found = {pair: backward.index(*pair) for pair in reversed(pairs)}
    assert [found[pair] for pair in pairs] == forward
    restored = pickle.loads(pickle.dumps(backward))
    assert walk(restored, 6, steps=20) == forward


@pytest.mark.parametrize("kind", [UniformSampler, BalancedSampler])
def test_the_seed_decides(kind):
    examples = mixed(50, A=50)
    walks = {seed: walk(kind(examples, 4, seed), 4, steps=10) for seed in (0, 1)}
    assert walks[0] != walks[1]
    assert walks[0] == walk(kind(examples, 4, seed=0), 4, steps=10)


def test_the_order_of_a_seed_stays_as_it_is():
    # A change here changes every run that was ever made with a seed.
    assert walk(UniformSampler(mixed(6), 3, seed=0), 3, steps=2) == [4, 0, 1, 5, 3, 2]
    assert walk(BalancedSampler(mixed(3, A=2, B=2), 4, seed=0), 4, steps=2) == [
        0,
        3,
        1,
        6,
        2,
        5,
        2,
        4,
    ]


def test_even_rows_are_real_and_odd_rows_fake():
    examples = mixed(9, A=4, B=5)
    order = walk(BalancedSampler(examples, 6, seed=3), 6, steps=30)
    assert [examples[index].label for index in order] == [0, 1] * 90


def test_fakes_are_uniform_over_methods_whatever_their_numbers():
    examples = mixed(5, A=2, B=30, C=7)
    order = walk(BalancedSampler(examples, 4, seed=4), 4, steps=60)
    methods = [examples[index].method for index in order if examples[index].label]
    windows = [methods[start : start + 3] for start in range(0, 120, 3)]
    assert all(sorted(window) == ["A", "B", "C"] for window in windows)
    assert len({tuple(window) for window in windows}) > 3


def test_every_stratum_runs_through_epochs_of_its_own():
    examples = mixed(4, A=2, B=5)
    order = walk(BalancedSampler(examples, 4, seed=5), 4, steps=50)
    for method, size in (("real", 4), ("A", 2), ("B", 5)):
        drawn = [index for index in order if examples[index].method == method]
        full = len(drawn) // size
        assert full >= 10
        for epoch in range(full):
            assert len(set(drawn[epoch * size : (epoch + 1) * size])) == size
        counts = collections.Counter(drawn[: full * size])
        assert set(counts.values()) == {full}


def test_strata_of_equal_size_are_not_drawn_in_the_same_order():
    examples = mixed(20, A=20)
    order = walk(BalancedSampler(examples, 40, seed=6), 40, steps=1)
    reals, fakes = order[::2], [index - 20 for index in order[1::2]]
    assert sorted(reals) == sorted(fakes) == list(range(20))
    assert reals != fakes


def test_balanced_batches_need_an_even_size_and_both_labels():
    with pytest.raises(UserError, match="batch size 5 is odd"):
        BalancedSampler(mixed(2, A=2), 5, seed=0)
    with pytest.raises(UserError, match="no fake images"):
        BalancedSampler(mixed(2), 4, seed=0)
    with pytest.raises(UserError, match="no real images"):
        BalancedSampler(mixed(0, A=2), 4, seed=0)
    with pytest.raises(UserError, match="no examples"):
        UniformSampler([], 4, seed=0)


def test_pairs_follow_each_other_and_resume_anywhere():
    order = walk(PairSampler(5, 6, seed=3), 6, steps=5)
    reals, fakes = order[::2], order[1::2]
    assert [fake - 5 for fake in fakes] == reals
    assert all(sorted(reals[start : start + 5]) == list(range(5)) for start in (0, 5, 10))
    assert reals[:5] != reals[5:10]
    again = PairSampler(5, 6, seed=3)
    assert [again.index(4, row) for row in range(6)] == order[-6:]
    with pytest.raises(UserError, match="batch size 3 is odd"):
        PairSampler(5, 3, seed=0)


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (2, 5, 1)])
def test_weighted_sources_have_their_share_and_epochs_of_their_own(weights):
    sizes = (4, 7, 3)[: len(weights)]
    strata = [source for source, size in enumerate(sizes) for _ in range(size)]
    order = walk(WeightedSampler(strata, weights, 6, seed=4), 6, steps=80)
    drawn = [strata[index] for index in order]
    total = sum(weights)
    windows = [drawn[start : start + total] for start in range(0, 480 - total + 1, total)]
    for window in windows:
        assert [window.count(source) for source in range(len(weights))] == list(weights)
    assert len({tuple(window) for window in windows}) > 1
    for source, weight in enumerate(weights):
        counts = collections.Counter(index for index in order if strata[index] == source)
        expected = 480 * weight / total / sizes[source]
        # Epochs may lie across a window, in which their order is drawn anew.
        assert all(abs(count - expected) <= 2 for count in counts.values())
        assert len(counts) == sizes[source]
    backward = WeightedSampler(strata, weights, 6, seed=4)
    assert [backward.index(s, r) for s in range(79, -1, -1) for r in range(5, -1, -1)] == order[
        ::-1
    ]
    assert walk(WeightedSampler(strata, weights, 6, seed=5), 6, steps=80) != order


def test_a_weight_for_nothing_is_refused():
    with pytest.raises(UserError, match="spec 2 of 2 has a weight and holds no image"):
        WeightedSampler([0, 0], (1, 2), 4, seed=0)


def of_source(name, source, method="real", frame=0, dataset="test"):
    return dataclasses.replace(example(name, method), source=source, frame=frame, dataset=dataset)


SOURCES = [
    of_source("a0", "a", frame=0),
    of_source("a1", "a", frame=1),
    of_source("b", "b"),
    of_source("unused", "c"),
    of_source("a in another set", "a", dataset="other"),
    *(of_source(f"A{n}", "a", "A", frame=n) for n in range(3)),
    of_source("Bb", "b", "B"),
    of_source("no real", "d", "B"),
]


def test_originals_have_the_source_and_if_there_is_one_the_frame():
    names = {
        SOURCES[fake].id: [SOURCES[real].id for real in reals]
        for fake, reals in originals(SOURCES).items()
    }
    assert names == {"A0": ["a0"], "A1": ["a1"], "A2": ["a0", "a1"], "Bb": ["b"]}


def test_a_fake_follows_the_real_that_it_was_made_of():
    batches = [
        [SOURCES[SourcePairSampler(SOURCES, 4, seed=5).index(step, row)] for row in range(4)]
        for step in range(60)
    ]
    pairs = [batch[n : n + 2] for batch in batches for n in (0, 2)]
    for real, fake in pairs:
        assert (real.label, fake.label) == (0, 1)
        assert (real.dataset, real.source) == (fake.dataset, fake.source)
    assert collections.Counter(fake.method for _, fake in pairs) == {"A": 60, "B": 60}
    reals = collections.Counter(real.id for real, fake in pairs if fake.id == "A2")
    assert reals.total() == 20
    assert min(reals["a0"], reals["a1"]) >= 4
    assert all(real.frame == fake.frame for real, fake in pairs if fake.id in ("A0", "A1"))


def test_no_fake_with_its_real_is_refused():
    with pytest.raises(UserError, match="draws each fake with the real"):
        SourcePairSampler([SOURCES[0], SOURCES[-1]], 2, seed=0)
