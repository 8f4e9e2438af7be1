"""Parsing of dataset specs, their filters, and lists of them."""

import collections
import contextlib
import dataclasses
import io
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.origins import Origins
from rffr_jax.data.pipeline import train_batches
from rffr_jax.data.sampling import originals
from rffr_jax.data.selection import keep_methods, keep_reals, sampling_weights
from rffr_jax.data.self_blending.controls import CONTROLS
from rffr_jax.data.specs import (
    DatasetSpec,
    load_dataset,
    load_separately,
    load_unfiltered,
    parse_spec,
)
from rffr_jax.errors import UserError
from rffr_jax.examples import REAL
from rffr_jax.synthetic.dataset import SyntheticDataset


def save(path, value=128, size=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (value, value, value)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Four reals and two fakes of each of A, B; every image has its own grey value."""
    names = [f"real/{i}.png" for i in range(4)]
    names += [f"fake/{method}/{i}.png" for method in "AB" for i in range(2)]
    for value, name in enumerate(names):
        save(tmp_path / name, value)
    return tmp_path


def write_csv(file, rows):
    file.write_text("path,label,video,method\n" + "".join(f"{','.join(row)}\n" for row in rows))
    return f"csv:{file}"


def test_every_part_of_a_spec():
    text = "csv:a/b.csv?method=DF,F2F&frames=3&limit=100"
    assert parse_spec(text) == DatasetSpec(
        text=text, kind="csv", path="a/b.csv", methods=("DF", "F2F"), frames=3, limit=100
    )
    assert parse_spec("synthetic:7#test?limit=2") == DatasetSpec(
        text="synthetic:7#test?limit=2", kind="synthetic", path="7", split="test", limit=2
    )
    assert parse_spec("folder:C:/x").path == "C:/x"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("faces", ["unknown kind", "synthetic, folder, list, csv"]),
        ("orc:x/y#train", ["unknown kind 'orc'", "synthetic, folder, list, csv"]),
        ("folder:", ["nothing after 'folder:'"]),
        ("synthetic:0#", ["nothing after '#'"]),
        ("synthetic:one", ["'one'", "synthetic:0"]),
        ("synthetic:-1", ["'-1'"]),
        ("synthetic:0#dev", ["#dev: unknown split", "train, validation, test"]),
        (
            "folder:x?frame=3",
            ["unknown key 'frame'", "method=A,B (or A+B), frames=N, group_limit=N and limit=N"],
        ),
        ("folder:x?", ["unknown key ''"]),
        ("folder:x?frames", ["no value"]),
        ("folder:x?method=", ["no value"]),
        ("folder:x?limit=1&limit=2", ["twice"]),
        ("folder:x?frames=1.5", ["frames=1.5", "whole number"]),
        ("folder:x?limit=0", ["limit=0", "from 1 up"]),
        ("folder:x?labels=fake", ["labels=fake", "labels=real"]),
        ("csv:x?labels=real", ["labels=real goes with folder"]),
        ("folder:/no/such/place", ["/no/such/place does not exist"]),
        ("list:/no/such.json", ["/no/such.json", "no such file"]),
        ("csv:/no/such.csv", ["/no/such.csv", "no such file"]),
        ([], ["empty list"]),
        (["folder:x", "folder:x"], ["twice"]),
    ],
)
def test_mistakes_end_in_one_clear_line(spec, words):
    with pytest.raises(UserError) as caught:
        load_dataset(spec)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_folder_has_no_splits(folder):
    with pytest.raises(UserError, match="leave out '#train'"):
        load_dataset(f"folder:{folder}#train")


def test_labels_of_a_folder_may_be_said_to_be_real(folder):
    (folder / "fake").rename(folder / "real" / "fakes")
    (folder / "real").rename(folder / "mine")
    with pytest.raises(UserError, match=r"mine/fakes/ holds 4 of them"):
        load_dataset(f"folder:{folder}?limit=2")
    assert len(load_dataset(f"folder:{folder}?labels=real&limit=2").examples) == 2
    assert len(load_unfiltered(f"folder:{folder}?labels=real&limit=2&weight=2").examples) == 8


def test_the_method_filter_keeps_reals(folder):
    examples = load_dataset(f"folder:{folder}?method=B").examples
    assert [example.method for example in examples] == ["B"] * 2 + ["real"] * 4
    everything = load_dataset(f"folder:{folder}?method=A,B").examples
    assert len(everything) == 8


def test_an_unknown_method_names_those_that_exist(folder):
    with pytest.raises(UserError, match="'C'; the methods there are A, B"):
        load_dataset(f"folder:{folder}?method=A,C")
    with pytest.raises(UserError, match=r"'A'; the methods there are \(none"):
        load_dataset(f"folder:{folder}/real?method=A")
    with pytest.raises(UserError, match="no fakes of method 'real'"):
        load_dataset(f"folder:{folder}?method=real")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [5]), (2, [2, 7]), (5, [1, 3, 5, 7, 9]), (10, list(range(10))), (99, list(range(10)))],
)
def test_frames_are_spread_over_the_whole_video(tmp_path, count, expected):
    # Listed backwards and without leading zeros: the order is that of the frame numbers.
    rows = [(f"v/{i}.png", "0", "v", "") for i in reversed(range(10))]
    examples = load_dataset(f"{write_csv(tmp_path / 'x.csv', rows)}?frames={count}").examples
    assert sorted(example.frame for example in examples) == expected


def test_frames_are_counted_for_each_method_of_a_pair(tmp_path):
    rows = [
        (f"{method}/000_003/{i}.png", "1", "000_003", method) for method in "AB" for i in range(3)
    ]
    spec = write_csv(tmp_path / "x.csv", rows)
    examples = load_dataset(f"{spec}?frames=1").examples
    assert [(example.method, example.frame) for example in examples] == [("A", 1), ("B", 1)]
    assert len({example.video for example in examples}) == 2


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (2, {"real": 1, "A": 1}),
        (4, {"real": 2, "A": 1, "B": 1}),
        (7, {"real": 3, "A": 2, "B": 2}),
        (99, {"real": 4, "A": 2, "B": 2}),
    ],
)
def test_a_limit_keeps_the_mix_of_methods(folder, limit, expected):
    examples = load_dataset(f"folder:{folder}?limit={limit}").examples
    assert collections.Counter(example.method for example in examples) == expected


def test_filtered_examples_load_their_own_pixels(folder):
    everything = load_dataset(f"folder:{folder}")
    grey = {
        example.id: everything.load(index, 20)[0, 0, 0]
        for index, example in enumerate(everything.examples)
    }
    assert len(set(grey.values())) == 8
    chosen = pickle.loads(pickle.dumps(load_dataset(f"folder:{folder}?method=B&limit=3")))
    assert len(chosen.examples) == 3
    for index, example in enumerate(chosen.examples):
        np.testing.assert_array_equal(chosen.load(index, 20), grey[example.id])


def test_a_list_of_specs_is_joined_in_order(folder, tmp_path):
    save(tmp_path / "other" / "x.png", 200)
    joined = load_dataset([f"folder:{tmp_path}/other", f"folder:{folder}/real"])
    assert [example.id for example in joined.examples] == ["x.png"] + [f"{i}.png" for i in range(4)]
    assert [joined.load(index, 20)[0, 0, 0] for index in range(5)] == [200, 0, 1, 2, 3]


def test_equal_ids_of_different_data_are_told_apart(tmp_path):
    for value, part in enumerate("ab"):
        save(tmp_path / part / "real" / "0.png", value)
        save(tmp_path / part / "fake" / "0.png", value)
    specs = [f"folder:{tmp_path}/{part}" for part in "ab"]
    joined = load_dataset(specs)
    ids = [example.id for example in joined.examples]
    assert ids == [f"{spec}/{name}/0.png" for spec in specs for name in ("fake", "real")]
    assert len({example.video for example in joined.examples}) == 4
    assert len({example.source for example in joined.examples}) == 4
    assert [joined.load(index, 20)[0, 0, 0] for index in range(4)] == [0, 0, 1, 1]


def test_equal_sources_of_a_named_data_set_stay_the_same_originals(tmp_path):
    specs = []
    for part in ("c23", "c40"):
        save(tmp_path / part / "0.png")
        (tmp_path / part / "x.csv").write_text(
            "path,label,video,dataset,source,group\n0.png,0,v,Set,v,v-w\n1.png,1,v_w,Set,v,v-w\n"
        )
        specs.append(f"csv:{tmp_path}/{part}/x.csv")
    joined = load_dataset(specs).examples
    assert {(example.source, example.group) for example in joined} == {("v", "v-w")}
    assert len({example.id for example in joined}) == len({e.video for e in joined}) == 4
    test = dataclasses.replace(load_dataset(specs[0]).examples[0], path="elsewhere.png")
    assert Origins.from_examples(joined).contains(test)
    assert originals(joined) == {1: [0], 3: [2]}


def test_the_same_real_taken_twice_stays_one_cluster(folder):
    joined = load_dataset([f"folder:{folder}?method=A", f"folder:{folder}?method=B"])
    assert len(joined.examples) == 12
    assert len({example.id for example in joined.examples}) == 12
    assert len({example.cluster for example in joined.examples}) == 8


def test_weights_stay_with_their_examples(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("others") / "other"
    shutil.copytree(folder, other)
    specs = [f"folder:{folder}?weight=3", f"folder:{other}?weight=1"]
    joined = load_dataset(specs, weighted=True)
    sizes = [len(load_dataset(spec.partition("?")[0]).examples) for spec in specs]
    assert sampling_weights(joined) == ((0,) * sizes[0] + (1,) * sizes[1], (3, 1))
    reals = keep_reals(joined)
    strata, weights = sampling_weights(CachedDataset(reals, 16, keep_pixels=True))
    assert weights == (3, 1)
    assert [joined.examples.index(e) >= sizes[0] for e in reals.examples] == list(map(bool, strata))
    assert sampling_weights(load_dataset([spec.partition("?")[0] for spec in specs])) == ((), ())
    batches = train_batches(
        CachedDataset(reals, 16, keep_pixels=True),
        size=16,
        batch_size=8,
        seed=0,
        start_step=0,
        num_steps=6,
        balanced=False,
    )
    with contextlib.closing(batches):
        drawn = [strata[index] for batch in batches for index in batch["index"]]
    assert drawn.count(0) == 36


@pytest.mark.parametrize(
    ("queries", "words", "weighted"),
    [
        (("?weight=2", "?limit=1"), "give each a weight, or none", True),
        (("?weight=2",), "name several specs", True),
        (("?weight=0", "?weight=1"), "weight=0; write a whole number", True),
        (("?weight=2", "?weight=1"), "is for data.train of a pretraining", False),
    ],
)
def test_weights_are_for_several_specs_of_a_pretraining(folder, queries, words, weighted):
    with pytest.raises(UserError, match=words) as caught:
        load_dataset([f"folder:{folder}{query}" for query in queries], weighted=weighted)
    assert "\n" not in str(caught.value)


def test_synthetic_specs_name_seed_and_split():
    opened = [
        load_dataset("synthetic:3", default_split="test"),
        load_dataset("synthetic:3#validation", default_split="test"),
        load_dataset("synthetic:4#test"),
    ]
    assert [dataset.examples for dataset in opened] == [
        SyntheticDataset(3, "test").examples,
        SyntheticDataset(3, "validation").examples,
        SyntheticDataset(4, "test").examples,
    ]
    assert len(load_dataset("synthetic:3").examples) == 4096


def test_synthetic_faces_take_the_filters():
    everything = load_dataset("synthetic:0#test")
    assert len(everything.examples) == 512
    assert sum(example.label for example in everything.examples) == 256
    methods = {example.method for example in everything.examples} - {"real"}
    method = min(methods)
    chosen = load_dataset(f"synthetic:0#test?method={method}&limit=10")
    assert {example.method for example in chosen.examples} == {"real", method}
    assert len(chosen.examples) == 10
    index = next(i for i, e in enumerate(everything.examples) if e.id == chosen.examples[-1].id)
    np.testing.assert_array_equal(chosen.load(9, 64), everything.load(index, 64))


@pytest.mark.parametrize("methods", [("A", "B"), ("A,B",), ("A+B",)])
def test_methods_may_share_a_text(folder, methods):
    dataset = load_dataset(f"folder:{folder}")
    kept = keep_methods(dataset, methods, where="data.methods")
    assert collections.Counter(e.method for e in kept.examples) == {"real": 4, "A": 2, "B": 2}
    assert parse_spec("csv:a?method=A+B").methods == ("A", "B")
    with pytest.raises(UserError, match=r"data.methods: no fakes of method 'C'"):
        keep_methods(dataset, ("A,C",), where="data.methods")


def names_of(specs):
    datasets = load_separately([str(spec) for spec in specs], default_split="test")
    return [sorted({example.dataset for example in dataset.examples}) for dataset in datasets]


def test_files_of_one_name_are_different_data_sets(tmp_path):
    rows = [("0.png", "0", "v", ""), ("1.png", "1", "w", "swap")]
    specs = {}
    for place in ("celeb", "dfdc", "old/celeb"):
        (tmp_path / place).mkdir(parents=True)
        specs[place] = write_csv(tmp_path / place / "test.csv", rows)
    assert names_of([specs["celeb"], specs["dfdc"]]) == [["celeb/test"], ["dfdc/test"]]
    name = tmp_path.name
    assert names_of(specs.values()) == [
        [f"{name}/celeb/test.csv"],
        ["dfdc/test"],
        ["old/celeb/test.csv"],
    ]
    (tmp_path / "celeb" / "test.json").write_text('[{"path": "0.png", "label": 0}]')
    both = [specs["celeb"], f"list:{tmp_path}/celeb/test.json"]
    assert names_of(both) == [["celeb/test.csv"], ["celeb/test.json"]]


def test_two_patterns_in_one_folder_are_two_data_sets(tmp_path):
    for name in "ab":
        with tarfile.open(tmp_path / f"{name}-0.tar", "w") as file:
            for member, content in (("0.png", b"image"), ("0.cls", b"0")):
                header = tarfile.TarInfo(member)
                header.size = len(content)
                file.addfile(header, io.BytesIO(content))
    specs = [f"tar:{tmp_path}/{name}-*.tar" for name in "ab"]
    folder = tmp_path.name
    parents = f"{tmp_path.parent.name}/{folder}"
    assert names_of(specs[:1]) == [[parents]]
    assert names_of(specs) == [[f"{folder}/a-*.tar"], [f"{folder}/b-*.tar"]]


def test_a_column_may_pool_two_tables_and_one_file_is_one_data_set(tmp_path):
    for place in "ab":
        text = f"path,label,dataset\n{place}.png,0,faces\n"
        (tmp_path / f"{place}.csv").write_text(text)
    assert names_of(f"csv:{tmp_path}/{place}.csv" for place in "ab") == [["faces"], ["faces"]]
    spec = write_csv(tmp_path / "c.csv", [("0.png", "1", "v", "A"), ("1.png", "1", "w", "B")])
    name = [f"{tmp_path.name}/c"]
    assert names_of([f"{spec}?method=A", f"{spec}?method=B"]) == [name, name]


def test_two_seeds_are_two_data_sets():
    assert names_of(["synthetic:0?limit=8"]) == [["synthetic"]]
    assert names_of(["synthetic:0?limit=8", "synthetic:1#train?limit=8"]) == [
        ["synthetic:0#test"],
        ["synthetic:1#train"],
    ]
    (dataset, _) = load_separately(["synthetic:0", "synthetic:1"], default_split="test")
    np.testing.assert_array_equal(dataset.load(3, 32), SyntheticDataset(0, "test").load(3, 32))


def test_one_data_set_of_several_is_kept(tmp_path):
    lines = [f"{n}.png,{n % 2},set {n % 3}" for n in range(9)]
    table = tmp_path / "mixed.csv"
    table.write_text("\n".join(["path,label,dataset", *lines]))
    kept = load_dataset(f"csv:{table}?dataset=set 1&method=fake")
    assert {example.dataset for example in kept.examples} == {"set 1"}
    assert len(kept.examples) == 3
    with pytest.raises(UserError, match="no data set 'set 7'; there are set 0, set 1, set 2"):
        load_dataset(f"csv:{table}?dataset=set 7")


@pytest.mark.parametrize("spec", ["folder:gs://b/x", "csv:s3://b/x.csv", "tfds:http://b/x#train"])
def test_addresses_are_not_taken_for_paths(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"addresses \((gs|s3|http)://\) are not read"):
        load_dataset(spec)


def test_a_home_folder_that_is_not_known_is_told():
    with pytest.raises(UserError, match="~no-such-user/x: that home folder is not known"):
        load_dataset("folder:~no-such-user/x")


def test_reals_under_controls_stand_in_place_of_fakes():
    plain = load_dataset("synthetic:3#test?limit=16&method=mouth_warp")
    found = load_dataset("synthetic:3?limit=40&fakes=controls", default_split="test")
    counts = collections.Counter(example.method for example in found.examples)
    assert counts == dict.fromkeys(("real", *CONTROLS), 8)
    reals = [example for example in plain.examples if example.label == REAL]
    assert [example for example in found.examples if example.label == REAL] == reals[:8]
    first = {example.method: i for i, example in reversed([*enumerate(found.examples)])}
    real = found.load(first["real"], 48)
    assert np.array_equal(real, plain.load(0, 48))
    for control in CONTROLS:
        image = found.load(first[control], 48)
        assert 0 < np.abs(image.astype(float) - real).mean() < 30
    chosen = load_dataset(
        "synthetic:3#test?limit=16&fakes=controls&method=format", default_split="test"
    )
    assert {example.method for example in chosen.examples} == {"real", "format"}
    assert pickle.loads(pickle.dumps(chosen)).examples == chosen.examples


def test_controls_need_landmarks(folder):
    with pytest.raises(UserError, match=r"fakes=controls': no landmarks are known of .*real/0"):
        load_dataset(f"folder:{folder}?fakes=controls", default_split="test")
    for split in ("train", "validation"):
        with pytest.raises(UserError, match="fakes=controls is for tests"):
            load_dataset("synthetic:3?limit=40&fakes=controls", default_split=split)
    with pytest.raises(UserError, match="fakes=given; fakes=controls goes with"):
        load_dataset(f"folder:{folder}?fakes=given")
