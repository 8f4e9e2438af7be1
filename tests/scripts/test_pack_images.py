"""Images in one small folder: within the megabytes, with their labels and origins."""

import pytest

from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from scripts import pack_images
from tests import jobs


@pytest.fixture
def specs(tmp_path):
    for seed, split in enumerate(("train", "validation")):
        jobs.draw_faces(tmp_path / "faces" / split, "faces", seed=seed, reals=8)
    folder = tmp_path / "faces"
    return [f"--{split}=csv:{folder}/{split}.csv" for split in ("train", "validation")]


def test_all_images_with_labels_and_origins(tmp_path, specs, capsys):
    output = tmp_path / "out"
    assert pack_images.main([*specs, "--output", str(output), "--size", "48"]) == 0
    assert "8 reals, 16 fakes" in capsys.readouterr().out
    packed = load_dataset(f"csv:{output}/train.csv")
    original = load_dataset(f"csv:{tmp_path}/faces/train.csv")

    def known(dataset):
        return {(e.method, e.label, e.source, e.dataset) for e in dataset.examples}

    assert known(packed) == known(original)
    places = {(e.method, e.source): index for index, e in enumerate(original.examples)}
    for index, example in enumerate(packed.examples):
        there = original.load(places[example.method, example.source], 48).astype(int)
        assert abs(packed.load(index, 48) - there).mean() < 4  # JPEG


def test_files_stay_within_the_megabytes(tmp_path, specs):
    output = tmp_path / "out"
    flags = ("--output", str(output), "--size=48", "--megabytes=0.02")
    assert pack_images.main([*specs, *flags]) == 0
    sizes = [file.stat().st_size for file in output.rglob("*") if file.is_file()]
    assert 10_000 < sum(sizes) <= 20_000


def test_bad_files_are_left_out_and_counted(tmp_path, specs, capsys):
    (tmp_path / "faces" / "train" / "real3.png").write_bytes(b"no image")
    assert pack_images.main([*specs, "--output", str(tmp_path / "out"), "--size", "48"]) == 0
    assert "7 reals, 16 fakes, 1 bad files left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--megabytes", "0"], "must be above 0"),
        (["--megabytes", "0.0001"], "no image fits"),
        (["--train", "csv:nowhere.csv"], "nowhere.csv"),
    ],
)
def test_a_mistake_is_told(tmp_path, specs, flags, reason):
    with pytest.raises(UserError, match=reason):
        pack_images.main([*specs, "--output", str(tmp_path / "out"), *flags])
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


def test_packed_images_are_not_overwritten(tmp_path, specs):
    flags = [*specs, "--output", str(tmp_path / "out"), "--size", "48"]
    assert pack_images.main(flags) == 0
    with pytest.raises(UserError, match="is not an empty folder"):
        pack_images.main(flags)


def test_an_interrupted_packing_leaves_nothing_in_the_way(tmp_path, specs, monkeypatch):
    flags = [*specs, "--output", str(tmp_path / "out"), "--size", "48"]

    def stopped(dataset, table, size, most_bytes):
        if table.stem == "validation":
            raise KeyboardInterrupt
        return pack(dataset, table, size, most_bytes)

    pack = pack_images.pack
    monkeypatch.setattr(pack_images, "pack", stopped)
    with pytest.raises(KeyboardInterrupt):
        pack_images.main(flags)
    monkeypatch.setattr(pack_images, "pack", pack)
    assert pack_images.main(flags) == 0
