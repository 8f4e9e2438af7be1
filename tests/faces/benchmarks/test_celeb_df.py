"""Celeb-DF."""

import collections
import itertools

import numpy as np
import pytest

from rffr_jax.faces.benchmarks import find_media
from rffr_jax.faces.benchmarks.celeb_df import choose_validation_people
from tests.faces import layouts
from tests.faces.layouts import by_id, refusal, splits_of


def test_one_means_real_in_the_list_and_fake_here(tmp_path):
    layouts.celeb_df(tmp_path)
    media = by_id(find_media("celeb_df", tmp_path))
    for line in (tmp_path / "List_of_testing_videos.txt").read_text().splitlines():
        listed_label, path = line.split()
        medium = media[path.removesuffix(".mp4")]
        assert medium.split == "test"
        assert medium.label == 1 - int(listed_label)
    fake = media["Celeb-synthesis/id0_id1_0000"]
    assert (fake.label, fake.source, fake.group) == (1, "Celeb-real/id0_0000", "id0")
    assert fake.person == media["Celeb-real/id0_0000"].person == "id0"


def test_validation_shares_nobody_with_training(tmp_path):
    layouts.celeb_df(tmp_path)
    people = collections.defaultdict(set)
    for medium in find_media("celeb_df", tmp_path).media:
        stem = medium.id.split("/")[1]
        people[medium.split] |= {part for part in stem.split("_") if part.startswith("id")}
    assert people["validation"]
    assert not people["validation"] & people["train"]
    assert people["test"] == {"id0", "id1"}


def test_the_held_out_tenth_is_made_of_whole_circles():
    rng = np.random.default_rng(3)
    for _ in range(20):
        sizes = rng.integers(1, 9, size=12)
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        parts = [rng.permutation(range(a, b)) for a, b in itertools.pairwise(bounds)]
        circles = [[f"id{i}" for i in part] for part in parts]
        swaps = [pair for c in circles for pair in itertools.pairwise(c)]
        swaps += [(c[0],) for c in circles]
        held_out = choose_validation_people(swaps)
        assert all(set(c) <= held_out or not set(c) & held_out for c in circles)
        assert len(held_out) <= 0.2 * bounds[-1]
        assert held_out == choose_validation_people([swaps[i] for i in rng.permutation(len(swaps))])
    # Circles of the sizes that those of Celeb-DF v2 are taken to have.
    everyone = [i for i in range(62) if i not in (14, 15, 18)]
    small = [[7, 10, 11, 12, 13], [*range(39, 49)], [*range(49, 59)], [5, 59, 60, 61]]
    big = [i for i in everyone if not any(i in circle for circle in small)]
    swaps = [(f"id{c[0]}", f"id{i}") for c in (*small, big) for i in c[1:]]
    held_out = choose_validation_people(swaps)
    assert held_out == {f"id{i}" for i in (7, 10, 11, 12, 13, 5, 59, 60, 61)}
    assert choose_validation_people([("id1", "id2"), ("id2", "id3")]) == set()
    assert choose_validation_people([(), ()]) == set()


def test_youtube_videos_are_held_out_by_a_tenth(tmp_path):
    layouts.celeb_df(tmp_path)
    for number in range(300):
        layouts.put(tmp_path / f"YouTube-real/{number:05d}.mp4", 0, "real", layouts.a_few_bytes)
    found = find_media("celeb_df", tmp_path)
    held_out = {id_ for id_ in splits_of(found)["validation"] if id_.startswith("YouTube")}
    assert 15 <= len(held_out) <= 45
    assert all(by_id(found)[id_].group == by_id(found)[id_].person == "" for id_ in held_out)


def test_the_test_list_may_have_a_bom_blank_lines_and_crlf(tmp_path):
    layouts.celeb_df(tmp_path)
    expected = find_media("celeb_df", tmp_path)
    file = tmp_path / "List_of_testing_videos.txt"
    lines = file.read_text().replace("/", "/videos/", 1).split("\n")
    file.write_bytes(b"\xef\xbb\xbf" + "  \r\n\r\n".join(lines).encode())
    assert find_media("celeb_df", tmp_path) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 Celeb-real/id2_0000.mp4", "1 means real"),
        ("1 Celeb-synthesis/id2_id3_0000.mp4", "1 means real"),
        ("2 Celeb-real/id2_0000.mp4", "is not a label"),
        ("Celeb-real/id2_0000.mp4", "is not a label"),
        ("1 Celeb/id2_0000.mp4", "is in none of"),
    ],
)
def test_a_line_that_cannot_be_right_is_named(tmp_path, line, message):
    layouts.celeb_df(tmp_path)
    file = tmp_path / "List_of_testing_videos.txt"
    file.write_text(file.read_text() + "\n" + line + "\n")
    refused = refusal("celeb_df", tmp_path)
    assert f"{file}:7: " in refused
    assert message in refused


def test_celeb_df_names_what_is_missing(tmp_path):
    layouts.celeb_df(tmp_path)
    (tmp_path / "Celeb-real/id0_0000.mp4").unlink()
    layouts.put(tmp_path / "Celeb-synthesis/mine.mp4", 1, "", layouts.a_few_bytes)
    found = find_media("celeb_df", tmp_path)
    assert found.missing == (
        "Celeb-synthesis/mine.mp4: not named as id0_id1_0000, left out",
        "Celeb-real/id0_0000: listed in List_of_testing_videos.txt and not there",
    )
    orphan = by_id(found)["Celeb-synthesis/id0_id1_0000"]
    assert (orphan.source, orphan.group) == (orphan.id, "id0")
    (tmp_path / "List_of_testing_videos.txt").unlink()
    assert "no List_of_testing_videos.txt" in refusal("celeb_df", tmp_path)


def test_plus_plus_has_a_method_for_each_folder(tmp_path):
    layouts.celeb_df_plus_plus(tmp_path)
    found = find_media("celeb_df", tmp_path)
    assert {m.dataset for m in found.media} == {"Celeb-DF++"}
    media = by_id(found)
    talking = media["Celeb-synthesis/TalkingFace/FLOAT/id4_0000_test_7"]
    assert (talking.method, talking.source, talking.person) == (
        "FLOAT",
        "Celeb-real/id4_0000",
        "id4",
    )
    swap = media["Celeb-synthesis/FaceSwap/Celeb-DF/id4_id5_0000"]
    assert (swap.method, swap.source, swap.group) == ("Celeb-DF", "Celeb-real/id4_0000", "id4")
    where = collections.defaultdict(set)
    for m in found.media:
        if m.person:
            where[m.person].add(m.split)
    assert where["id0"] == where["id1"] == {"test"}
    assert where["id6"] == where["id7"] == {"validation"}
    assert all(len(splits) == 1 for splits in where.values())
    (tmp_path / "Celeb-synthesis/FaceReenact/LIA/id0_id1_0000.mp4").unlink()
    (tmp_path / "Celeb-synthesis/FaceSwap/Celeb-DF/x.mp4").touch()
    assert find_media("celeb_df", tmp_path).missing == (
        "Celeb-synthesis/FaceSwap/Celeb-DF/x.mp4: not named as id0_id1_0000, left out",
        "Celeb-synthesis/FaceReenact/LIA/id0_id1_0000: listed in List_of_testing_videos.txt "
        "and not there",
    )


@pytest.mark.parametrize(
    ("fakes", "tests", "dataset"),
    [(795, 100, "Celeb-DF-v1"), (796, 100, "Celeb-DF"), (795, 518, "Celeb-DF")],
)
def test_v1_is_told_from_v2(tmp_path, fakes, tests, dataset):
    real = [f"Celeb-real/id{i % 13}_{i:04}.mp4" for i in range(158)]
    real += [f"YouTube-real/{i:05}.mp4" for i in range(250)]
    fake = [f"Celeb-synthesis/id{i % 13}_id{(i + 1) % 13}_{i:04}.mp4" for i in range(fakes)]
    for name in real + fake:
        layouts.put(tmp_path / name, 0, "real", layouts.a_few_bytes)
    lines = [f"1 {name}" for name in real] + [f"0 {name}" for name in fake]
    layouts.text(tmp_path / "List_of_testing_videos.txt", "\n".join(lines[-tests:]))
    assert {m.dataset for m in find_media("celeb_df", tmp_path).media} == {dataset}
