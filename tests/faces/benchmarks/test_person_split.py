"""Parts that share no person."""

import collections
import dataclasses
import pathlib

import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks import find_media
from rffr_jax.faces.benchmarks.person_split import parse_fractions, split_by_person
from rffr_jax.faces.media import SPLITS, Benchmark, Medium
from tests.faces import layouts

SHARES = parse_fractions("0.8,0.1,0.1")


def medium(id_, person="", source="", **changes):
    fake = id_.startswith("fake")
    return Medium(
        id_, pathlib.Path(id_), "train", int(fake), "mine", "fake" if fake else "real",
        source or id_,
        person=person, **changes,
    )  # fmt: skip


def random_tree(random, people, fakes):
    """Reals of everyone, and fakes of two people or of an original."""
    media = [medium(f"real/{i}/{j}.mp4", f"p{i}") for i in range(people) for j in range(2)]
    for k in range(fakes):
        a, b = random.choice(people, 2, replace=False)
        name = f"fake/Swap/{k}.mp4"
        if k % 2:
            media.append(medium(name, f"p{a};p{b}"))
        else:
            media.append(medium(name, f"p{b}", source=f"real/{a}/0.mp4"))
    return Benchmark(tuple(media))


@pytest.mark.parametrize("seed", range(30))
def test_identities_never_cross_splits(seed):
    random = np.random.default_rng(seed)
    people = int(random.integers(12, 60))
    tree = random_tree(random, people, int(random.integers(0, people // 4)))
    shuffled = Benchmark(tuple(tree.media[i] for i in random.permutation(len(tree.media))))
    found = split_by_person(tree, "table", SHARES)
    again = {m.id: m.split for m in split_by_person(shuffled, "table", SHARES).media}
    assert {m.id: m.split for m in found.media} == again
    where = collections.defaultdict(set)
    for m in found.media:
        for name in (*m.person.split(";"), m.source):
            where[name].add(m.split)
    assert all(len(splits) == 1 for splits in where.values())
    counts = collections.Counter(next(iter(where[f"p{i}"])) for i in range(people))
    assert set(counts) == set(SPLITS)
    if len(tree.media) == 2 * people:  # nobody is tied to another one
        for split, share in SHARES.items():
            assert abs(counts[split] - share * people) <= 1


def test_frames_of_a_video_and_members_of_a_group_stay_together():
    media = [medium(f"{i}.png", f"p{i}", video="v" * (i < 5)) for i in range(20)]
    media = [dataclasses.replace(m, group="g" * (10 <= i < 15)) for i, m in enumerate(media)]
    splits = [m.split for m in split_by_person(Benchmark(tuple(media)), "table", SHARES).media]
    assert len(set(splits[:5])) == len(set(splits[10:15])) == 1


def test_people_of_a_folder(tmp_path):
    for person in "abcdefghij":
        for name in (f"real/{person}/x.mp4", f"fake/Swap/{person}/y.mp4"):
            layouts.put(tmp_path / name, 0, "real", layouts.a_few_bytes)
    found = split_by_person(find_media("folder", tmp_path), "folder", SHARES)
    by_person = collections.defaultdict(set)
    for m in found.media:
        assert m.person == m.id.split("/")[-2]
        by_person[m.person].add(m.split)
    assert collections.Counter(map(tuple, by_person.values())) == {
        ("train",): 8, ("validation",): 1, ("test",): 1,
    }  # fmt: skip


def test_people_of_names():
    media = [medium(f"fake/{i}_{i + 1}.mp4") for i in range(0, 20, 2)]
    media += [medium(f"real/{i}.mp4") for i in range(20)]
    found = split_by_person(Benchmark(tuple(media)), "folder", SHARES, r"(\d+)(?:_(\d+))?\.mp4")
    split = {m.person: m.split for m in found.media}
    assert split["4;5"] == split["4"] == split["5"]
    assert collections.Counter(split.values()) == {"train": 24, "validation": 3, "test": 3}


def test_all_in_one_part():
    media = (medium("real/a/x.mp4"), medium("real/b/x.mp4"))
    found = split_by_person(Benchmark(media), "folder", parse_fractions("0,0,1"))
    assert {m.split for m in found.media} == {"test"}


@pytest.mark.parametrize("text", ["0.8,0.2", "0.5,0.5,0.5", "1.2,-0.1,-0.1", "a,b,c", "nan,0,1"])
def test_shares_that_are_none(text):
    with pytest.raises(UserError, match="with the sum 1, like"):
        parse_fractions(text)


@pytest.mark.parametrize(
    ("ids", "name", "pattern", "message"),
    [
        (["real/x.mp4", "real/a/x.mp4"], "folder", None, "1 of 2 media name no person, real/x.mp4"),
        (["real/x.mp4"], "table", None, "or fill the column `person`"),
        (["real/x.mp4"], "folder", r"id(\d+)", "correct --person-pattern"),
        (["real/x.mp4"], "folder", "(", "--person-pattern '(': missing"),
        (["real/x.mp4"], "folder", "x", "it has no group"),
        (["real/a/x.mp4", "real/a/y.mp4"], "folder", None, "nobody is left for validation and"),
    ],
)
def test_what_cannot_be_split(ids, name, pattern, message):
    with pytest.raises(UserError) as caught:
        split_by_person(Benchmark(tuple(map(medium, ids))), name, SHARES, pattern)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_that_are_split_are_refused(tmp_path):
    layouts.folder(tmp_path)
    with pytest.raises(UserError, match="the data have splits of their own"):
        split_by_person(find_media("folder", tmp_path), "folder", SHARES)
