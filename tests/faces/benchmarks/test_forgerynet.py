"""ForgeryNet."""

import pytest

from rffr_jax.faces.benchmarks import find_media
from tests.faces import layouts
from tests.faces.layouts import by_id, refusal, splits_of


def test_classes_splits_and_frames_of_forgerynet(tmp_path):
    layouts.forgerynet(tmp_path)
    found = find_media("forgerynet", tmp_path)
    assert {split: len(ids) for split, ids in splits_of(found).items()} == {
        "train": 4,
        "validation": 4,
    }
    media = by_id(found)
    frame = media["train_release/1/aaaa/frame00017"]
    assert (frame.label, frame.method, frame.group) == (0, "real", "train_release/1/aaaa")
    alone = media["val_perturb_release/12/dddd"]
    assert (alone.label, alone.method, alone.group) == (1, "forgery_11", "")


def test_lists_of_forgerynet_may_lie_in_the_folder_itself(tmp_path):
    layouts.forgerynet(tmp_path)
    expected = find_media("forgerynet", tmp_path)
    (tmp_path / "Training" / "image_list.txt").rename(tmp_path / "train_image_list.txt")
    (tmp_path / "Validation" / "image_list.txt").rename(tmp_path / "Val_Image_List.txt")
    layouts.text(tmp_path / "Training" / "video_list.txt", "2 x.mp4 0 3 0 1 1 1\n")
    layouts.text(tmp_path / "Training" / "spatial_list.txt", "a.jpg b.png\n")
    assert find_media("forgerynet", tmp_path) == expected
    (tmp_path / "Training" / "image").rename(tmp_path / "Training" / "images")
    found = find_media("forgerynet", tmp_path)
    assert [m.id for m in found.media] == [m.id for m in expected.media]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_release/12/dddd.jpg 0 2 11", "binary label 0 and 16-class label 11 disagree"),
        ("train_release/12/dddd.jpg 1 0 0", "binary label 1 and 16-class label 0 disagree"),
        ("train_release/12/dddd.jpg 1 2", "is not an image and its"),
        ("train_release/12/dddd.jpg 1 2 x", "is not an image and its"),
        ("train_release/12/dddd.jpg 1 2 16", "is not an image and its"),
    ],
)
def test_a_line_of_forgerynet_that_cannot_be_right_is_named(tmp_path, line, message):
    layouts.forgerynet(tmp_path)
    file = tmp_path / "Training" / "image_list.txt"
    file.write_text(file.read_text() + line)
    refused = refusal("forgerynet", tmp_path)
    assert f"{file}:6: " in refused
    assert message in refused


def test_forgerynet_names_absent_and_doubled_images(tmp_path):
    layouts.forgerynet(tmp_path)
    file = tmp_path / "Training" / "image_list.txt"
    file.write_text(file.read_text() + "train_release\\no such.jpg 1 2 3\n")
    found = find_media("forgerynet", tmp_path)
    assert found.missing == (f"train_release/no such: listed at {file}:6 and not there",)
    file.write_text(file.read_text() + "train_release/12/dddd.jpg 1 1 11\n")
    twice = find_media("forgerynet", tmp_path)
    assert twice.media == found.media
    assert twice.missing == (*found.missing, "train_release/12/dddd: listed twice, taken once")
    other = tmp_path / "Training/image/train_release/12/dddd.png"
    layouts.put(other, 1, "forgery_11", layouts.a_few_bytes)
    file.write_text(file.read_text() + "train_release/12/dddd.png 1 1 11\n")
    shared = find_media("forgerynet", tmp_path)
    assert "train_release/12/dddd" not in by_id(shared)
    assert shared.missing[-1].endswith("12/dddd.jpg, " + other.relative_to(tmp_path).as_posix())
    file.write_text(file.read_text() + "train_release/12/dddd.jpg 0 0 0\n")
    message = refusal("forgerynet", tmp_path)
    assert "dddd.jpg is listed as forgery_11, train and as real, train" in message


def test_an_image_of_two_splits_is_refused(tmp_path):
    layouts.forgerynet(tmp_path)
    image = tmp_path / "train_release/shared.jpg"
    layouts.put(image, 0, "real", layouts.a_few_bytes)
    for split in ("Training", "Validation"):
        file = tmp_path / split / "image_list.txt"
        file.write_text(file.read_text() + "train_release/shared.jpg 0 0 0\n")
    message = refusal("forgerynet", tmp_path)
    assert f"{image} is listed as real, train and as real, validation" in message
