"""DF40's crops, with the reals that they were made from."""

import shutil

from rffr_jax.faces.benchmarks import find_media
from tests.faces import layouts
from tests.faces.layouts import by_id, refusal

FF_REALS = "FaceForensics++/original_sequences/youtube/c23/frames"


def test_split_and_data_set_are_those_of_the_original(tmp_path):
    layouts.df40(tmp_path)
    media = by_id(find_media("df40", tmp_path))
    said = {id_: (m.dataset, m.split, m.source, m.group) for id_, m in media.items() if m.label}
    celeb = "Celeb-DF-v2/Celeb-real/id0_0000"
    photograph = "DF40/MidJourney/fake/b.jpg"
    assert said == {
        "DF40_train/simswap/frames/003_001": ("DF40-ff", "train", f"{FF_REALS}/003", "001-003"),
        "DF40_train/DiT/001/seed0188.png": ("DF40-ff", "train", f"{FF_REALS}/001", "001-003"),
        "DF40/simswap/ff/frames/002_005": ("DF40-ff", "test", f"{FF_REALS}/002", "002-005"),
        "DF40/DiT/ff/004/seed0001.png": ("DF40-ff", "validation", f"{FF_REALS}/004", "000-004"),
        "DF40/simswap/cdf/frames/id0_id1_0000": ("DF40-cdf", "test", celeb, "id0"),
        "DF40/DiT/cdf/Fake_from_Celeb-real/id0_0000/seed1.png": ("DF40-cdf", "test", celeb, "id0"),
        photograph: ("DF40-MidJourney", "test", photograph, ""),
    }
    reals = {(m.dataset, m.split) for m in media.values() if not m.label}
    splits = ("train", "validation", "test")
    assert reals == {
        *(("DF40-ff", split) for split in splits), ("DF40-cdf", "test"), ("DF40-MidJourney", "test")
    }  # fmt: skip


def test_the_folder_of_a_picture_names_its_original_before_its_own_name(tmp_path):
    layouts.df40(tmp_path)
    youtube = "Fake_from_Youtube-real/00043"
    for name in ("ff/002/003.png", f"cdf/{youtube}/45832.png", f"cdf/{youtube}/seed_1.png"):
        layouts.put(tmp_path / "DF40/sd" / name, 1, "sd", layouts.a_few_bytes)
    media = by_id(find_media("df40", tmp_path))
    fake = media["DF40/sd/ff/002/003.png"]
    assert (fake.split, fake.source, fake.group) == ("test", f"{FF_REALS}/002", "002-005")
    for name in ("45832", "seed_1"):
        fake = media[f"DF40/sd/cdf/{youtube}/{name}.png"]
        assert (fake.source, fake.group) == ("Celeb-DF-v2/YouTube-real/00043", "")


def test_what_tells_no_original_is_counted_by_folder(tmp_path):
    layouts.df40(tmp_path)
    for name in ("000000.jpg", "000001.jpg"):
        layouts.put(tmp_path / "DF40/e4e/ff/inversions" / name, 1, "e4e", layouts.a_few_bytes)
    layouts.put(tmp_path / "DF40_train/lia/frames/900_901/0.png", 1, "lia", layouts.a_few_bytes)
    assert find_media("df40", tmp_path).missing == (
        "DF40/e4e/ff/inversions: 2 media whose original is in none of the lists, left out",
        "DF40_train/lia/frames: 1 media whose original is in none of the lists, left out",
    )


def test_lists_are_needed_where_originals_tell_the_split(tmp_path):
    layouts.df40(tmp_path)
    shutil.rmtree(tmp_path / "FaceForensics++")
    assert "no train.json, val.json, test.json, which say" in refusal("df40", tmp_path)
    layouts.write_splits(tmp_path / "FaceForensics++")
    assert find_media("df40", tmp_path).notes == ("DF40-ff: there are no reals of it",)
    shutil.rmtree(tmp_path / "FaceForensics++")
    shutil.rmtree(tmp_path / "DF40_train")
    for method in ("simswap", "DiT"):
        shutil.rmtree(tmp_path / "DF40" / method / "ff")
    assert {m.dataset for m in find_media("df40", tmp_path).media} == {
        "DF40-cdf",
        "DF40-MidJourney",
    }
    (tmp_path / "Celeb-DF-v2/List_of_testing_videos.txt").unlink()
    assert "no List_of_testing_videos.txt" in refusal("df40", tmp_path)
