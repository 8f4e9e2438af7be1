"""Ids that several files share, and paths that lead elsewhere."""

import json

import pytest

from rffr_jax.faces.benchmarks import dfdc, find_media
from rffr_jax.faces.media import Benchmark
from tests.faces import layouts
from tests.faces.layouts import by_id, refusal


def test_files_that_share_an_id_are_all_left_out_and_named(tmp_path):
    layouts.faceforensics(tmp_path / "ff")
    videos = tmp_path / "ff/original_sequences/youtube/c23/videos"
    (videos / "003.avi").write_bytes(b"")
    found = find_media("faceforensics", tmp_path / "ff")
    inner = "original_sequences/youtube/c23/videos"
    assert found.missing == (
        f"real/003: 2 files have this id, all left out: {inner}/003.avi, {inner}/003.mp4",
    )
    assert len(found.media) == 17
    assert "real/003" not in by_id(found)
    assert by_id(found)["Deepfakes/003_001"].source == "real/003"

    layouts.celeb_df(tmp_path / "celeb")
    (tmp_path / "celeb/Celeb-synthesis/id4_id5_0000.MOV").write_bytes(b"")
    (line,) = find_media("celeb_df", tmp_path / "celeb").missing
    assert line == (
        "Celeb-synthesis/id4_id5_0000: 2 files have this id, all left out: "
        "Celeb-synthesis/id4_id5_0000.MOV, Celeb-synthesis/id4_id5_0000.mp4"
    )

    layouts.deepfake_detection(tmp_path / "actors")
    original = "original_sequences/actors/c23/videos/01__kitchen_pan"
    (tmp_path / "actors" / f"{original}.mkv").write_bytes(b"")
    line = find_media("faceforensics", tmp_path / "actors").missing[-1]
    assert line.endswith(f"all left out: {original}.mkv, {original}.mp4")


def test_copies_of_dfdc_beside_one_another_are_left_out_but_for_what_one_of_them_has(tmp_path):
    layouts.dfdc(tmp_path / "a")
    layouts.dfdc(tmp_path / "b")
    (tmp_path / "b/dfdc_train_part_0/bbbbbbbbbb.mp4").unlink()
    found = dfdc.find(tmp_path)
    assert [m.path for m in found.media] == [tmp_path / "a/dfdc_train_part_0/bbbbbbbbbb.mp4"]
    assert len(found.missing) == 1 + 7
    assert (
        "test/tttttttttt: 2 files have this id, all left out: "
        "a/test/videos/tttttttttt.mp4, b/test/videos/tttttttttt.mp4"
    ) in found.missing
    layouts.dfdc(tmp_path / "b")
    assert "8 are missing or left out, the first: dfdc_train_part_0/a" in refusal("dfdc", tmp_path)


def test_three_files_of_one_id_are_one_line(tmp_path):
    layouts.dfdc(tmp_path)
    for name in ("test/tttttttttt.mp4", "test/test/tttttttttt.mp4"):
        layouts.put(tmp_path / name, 0, "real", layouts.a_few_bytes)
    (line,) = find_media("dfdc", tmp_path).missing
    assert line.startswith("test/tttttttttt: 3 files have this id, all left out: ")
    assert len(line.split(", ")) == 4


def test_names_in_the_lists_that_differ_in_their_extensions_only_are_left_out(tmp_path):
    layouts.dfdc(tmp_path)
    part = tmp_path / "dfdc_train_part_0"
    metadata = json.loads((part / "metadata.json").read_text())
    metadata["bbbbbbbbbb.avi"] = {"label": "REAL"}
    layouts.text(part / "metadata.json", json.dumps(metadata))
    (part / "bbbbbbbbbb.avi").write_bytes(b"")
    found = find_media("dfdc", tmp_path)
    list_name = "dfdc_train_part_0/metadata.json"
    assert found.missing == tuple(
        f"dfdc_train_part_0/bbbbbbbbbb: bbbbbbbbbb.{extension} in {list_name} shares it with "
        "another one, left out"
        for extension in ("mp4", "avi")
    )
    assert len(found.media) == 7


@pytest.mark.parametrize(
    "path", ["../a/b.mp4", "a/../../b.mp4", "..\\b.mp4", "/data/b.mp4", "C:\\b.mp4", "..", "."]
)
def test_paths_that_lead_out_of_the_folder_are_named_and_the_rest_is_taken(tmp_path, path):
    (tmp_path / "b.mp4").write_bytes(b"")
    left_out = f"{path!r} is not a path below the list's folder, left out"

    celeb = tmp_path / "celeb"
    layouts.celeb_df(celeb)
    expected = find_media("celeb_df", celeb).media
    file = celeb / "List_of_testing_videos.txt"
    file.write_text(file.read_text() + f"1 {path}\n")
    assert find_media("celeb_df", celeb) == Benchmark(expected, (f"{file}:6: {left_out}",))

    challenge = tmp_path / "dfdc"
    layouts.dfdc(challenge)
    expected = find_media("dfdc", challenge).media
    file = challenge / "dfdc_train_part_0/metadata.json"
    metadata = json.loads(file.read_text())
    metadata[path] = {"label": "FAKE", "original": "aaaaaaaaaa.mp4"}
    metadata["bbbbbbbbbb.mp4"]["original"] = path
    layouts.text(file, json.dumps(metadata))
    labels = challenge / "test/labels.csv"
    labels.write_text(labels.read_text() + f"{path},1\n")
    assert find_media("dfdc", challenge) == Benchmark(
        tuple(m for m in expected if m.path.name != "bbbbbbbbbb.mp4"),
        (
            f"test/labels.csv: {left_out}",
            f"dfdc_train_part_0/metadata.json: {left_out}",
            f"dfdc_train_part_0/metadata.json: original of bbbbbbbbbb.mp4: {left_out}",
        ),
    )

    preview = tmp_path / "preview"
    layouts.dfdc_preview(preview)
    expected = find_media("dfdc", preview).media
    content = json.loads((preview / "dataset.json").read_text())
    content[path] = {"label": "fake", "set": "train"}
    layouts.text(preview / "dataset.json", json.dumps(content))
    assert find_media("dfdc", preview) == Benchmark(expected, (f"dataset.json: {left_out}",))

    forgerynet = tmp_path / "forgerynet"
    layouts.forgerynet(forgerynet)
    expected = find_media("forgerynet", forgerynet).media
    file = forgerynet / "Training/image_list.txt"
    file.write_text(file.read_text() + f"{path} 1 2 3\n")
    assert find_media("forgerynet", forgerynet) == Benchmark(expected, (f"{file}:6: {left_out}",))

    pairs = layouts.FF_PAIRS | {"train": [*layouts.FF_PAIRS["train"], (path, "003x")]}
    layouts.faceforensics(tmp_path / "ff")
    expected = find_media("faceforensics", tmp_path / "ff").media
    layouts.write_splits(tmp_path / "ff/splits", pairs)
    found = find_media("faceforensics", tmp_path / "ff")
    assert found.media == expected
    assert f"real/{path}: listed in train.json and not there" in found.missing


def test_a_video_that_the_test_list_names_in_an_unclear_place_is_in_no_split(tmp_path):
    layouts.celeb_df(tmp_path)
    file = tmp_path / "List_of_testing_videos.txt"
    listed = file.read_text().splitlines()
    listed[-1] = listed[-1].replace("Celeb-synthesis", "/data/Celeb-synthesis")
    before = by_id(find_media("celeb_df", tmp_path))
    layouts.text(file, "\n".join(listed))
    found = find_media("celeb_df", tmp_path)
    assert before.keys() - by_id(found).keys() == {"Celeb-synthesis/id1_id0_0000"}
    assert len(found.missing) == 1
    layouts.text(file, "\n".join("1 /data/" + line.split()[1] for line in listed))
    assert "names no video" in refusal("celeb_df", tmp_path)
