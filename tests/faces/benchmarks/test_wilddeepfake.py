"""WildDeepfake's unpacked archives."""

from rffr_jax.faces.benchmarks import find_media
from tests.faces import layouts
from tests.faces.layouts import by_id, refusal, splits_of


def test_sequences_are_videos_and_archives_are_groups(tmp_path):
    layouts.wilddeepfake(tmp_path / "plain")
    layouts.wilddeepfake(tmp_path / "inner", inner=True)
    media = by_id(find_media("wilddeepfake", tmp_path / "plain"))
    assert media.keys() == by_id(find_media("wilddeepfake", tmp_path / "inner")).keys()
    one = media["fake_test/2/54"]
    assert (one.split, one.label, one.method, one.group) == ("test", 1, "fake", "fake_test/2")
    assert one.path == tmp_path / "plain/fake_test/2/54"


def test_a_tenth_of_the_archives_of_training_is_validation(tmp_path):
    for kind in ("real", "fake"):
        for shard in range(100):
            for sequence in range(2):
                name = f"{kind}_train/{shard}/{sequence}/0.png"
                layouts.put(tmp_path / name, 0, "real", layouts.a_few_bytes)
    splits = splits_of(find_media("wilddeepfake", tmp_path))
    shards = {split: {id_.rpartition("/")[0] for id_ in ids} for split, ids in splits.items()}
    assert shards.keys() == {"train", "validation"}
    assert shards["train"].isdisjoint(shards["validation"])
    assert 10 <= len(shards["validation"]) <= 30


def test_a_label_inside_that_contradicts_the_folder_is_named(tmp_path):
    layouts.wilddeepfake(tmp_path)
    layouts.put(tmp_path / "real_test/9/fake/0/1.png", 0, "real", layouts.a_few_bytes)
    (tmp_path / "real_test/9/fake/empty").mkdir()
    found = find_media("wilddeepfake", tmp_path)
    assert by_id(found)["real_test/9/0"].label == 0
    assert found.notes == ("real_test/9/fake: taken as real, as its archive",)
    assert found.missing == ("real_test/9/fake/empty: there is no picture in the folder",)


def test_packed_archives_are_refused(tmp_path):
    layouts.wilddeepfake(tmp_path)
    (tmp_path / "fake_test/7.tar.gz").touch()
    message = refusal("wilddeepfake", tmp_path)
    assert "fake_test/7.tar.gz: 1 archives in fake_test are packed; unpack each" in message
