"""`folder:...?videos=folders`: the images of a folder are the frames of one video."""

import collections

import pytest
from PIL import Image

from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError


def tree(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)


def test_the_images_of_a_folder_are_one_video(tmp_path):
    frames = [f"{video}/{n}.png" for video in ("real/a", "fake/Swap/a") for n in (2, 9, 10, 11, 30)]
    tree(tmp_path, [*frames, "real/b/x.png", "real/b/y.png"])
    dataset = load_dataset(f"folder:{tmp_path}?videos=folders")
    videos = collections.defaultdict(list)
    for example in dataset.examples:
        assert example.source == example.video
        videos[example.video].append(example.frame)
    assert videos == {
        "real/a": [2, 9, 10, 11, 30],
        "fake/Swap/a": [2, 9, 10, 11, 30],
        "real/b": [0, 1],
    }
    one = load_dataset(f"folder:{tmp_path}?videos=folders&frames=1").examples
    assert sorted(e.id for e in one) == ["fake/Swap/a/10.png", "real/a/10.png", "real/b/y.png"]
    assert len({e.video for e in load_dataset(f"folder:{tmp_path}").examples}) == 12


def test_videos_of_other_words_or_kinds_are_refused(tmp_path):
    for spec in (f"folder:{tmp_path}?videos=yes", "csv:x.csv?videos=folders"):
        with pytest.raises(UserError, match="videos=folders goes with folder and says that"):
            load_dataset(spec)
