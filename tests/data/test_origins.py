"""What a training has seen, and what is said of made-up data."""

import json

import pytest

from rffr_jax.data.origins import Origins, synthetic_data_note
from rffr_jax.data.specs import load_dataset
from rffr_jax.examples import Example


def example(path="a.png", dataset="x", source="v", method="real"):
    label = int(method != "real")
    return Example(str(path), str(path), label, dataset, method, source, 0, source)


def test_a_record_survives_json():
    seen = Origins.from_examples(
        [example("b.png"), example("a.png", source="w"), example("a.png", "y")]
    )
    record = json.loads(json.dumps(seen.to_json()))
    assert record["x"] == ["v", "w"]
    assert Origins.from_json(record) == seen
    assert Origins.from_json({"x": ["v"]}) == Origins(frozenset([("x", "v")]))
    assert Origins.from_json({}) == Origins()


def test_records_are_united():
    one = Origins(frozenset([("a", "1"), ("a", "3")]), frozenset(["/x.png"]))
    other = Origins(frozenset([("a", "2"), ("a", "3"), ("b", "1")]))
    united = one.union(other)
    assert united.to_json() == {"a": ["1", "2", "3"], "b": ["1"], ":files": ["/x.png"]}
    assert united.datasets == ["a", "b"]
    assert Origins().union() == Origins()


def test_an_original_is_known_by_data_set_and_name_or_by_its_file(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    seen = Origins.from_examples([example(tmp_path / "a.png")])
    assert seen.contains(example("elsewhere.png"))
    assert not seen.contains(example("elsewhere.png", dataset="y"))
    assert seen.contains(example(tmp_path / "link.png", dataset="y", source="w"))
    assert seen.contains(example(tmp_path / "b" / ".." / "a.png", dataset="y", source="w"))
    assert not seen.contains(example(tmp_path / "b.png", dataset="y", source="w"))


def test_procedural_images_have_no_files():
    seen = Origins.from_examples(load_dataset("synthetic:0?limit=8").examples)
    assert seen.sources
    assert not seen.files


def test_likeness_looks_beyond_the_names_of_data_sets():
    seen = Origins.from_examples([example("a.png")])
    assert seen.overlaps(Origins.from_examples([example("b.png", dataset="y")]))
    assert seen.overlaps(Origins.from_examples([example("a.png", dataset="y", source="w")]))
    assert not seen.overlaps(Origins.from_examples([example("b.png", source="w")]))


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        ([example()], ""),
        ([example(), example(method="Deepfakes")], ""),
        ([example(), example(method="mouth_warp")], "manipulations made by this program"),
        ([example(), example(dataset="synthetic")], "procedural faces and manipulations"),
        ([example(dataset="synthetic:1#test")], "procedural faces and manipulations"),
    ],
)
def test_what_is_made_here_says_so(examples, expected):
    note = synthetic_data_note(examples)
    assert note.startswith(expected)
    assert bool(note) == bool(expected)
