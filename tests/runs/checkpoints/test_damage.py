"""Damaged checkpoints: which are told, what is used instead, and what becomes of them."""

import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rffr_jax.cluster.sharding import init_sharded, make_mesh, parameter_shardings, with_shardings
from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.names import LATEST
from rffr_jax.runs.checkpoints.run_state import DAMAGED, RunCheckpoints, refuse_other_settings
from rffr_jax.runs.checkpoints.weights import load_weights, read_about, save_weights
from tests import jobs

TRAINING = {"optimizer": {"mean": jnp.arange(3000.0)}, "finite": jnp.array(True)}


@pytest.fixture(autouse=True)
def heard(caplog):
    """Only warnings reach the fixture `caplog`, and each is told anew."""
    caplog.set_level(logging.WARNING, "rffr_jax")


def weights(seed):
    """Random numbers, which no compression makes small."""
    keys = jax.random.split(jax.random.key(seed), 2)
    return init_sharded(
        lambda: {
            "layer": {
                "kernel": jax.random.normal(keys[0], (60, 70)),
                "bias": jax.random.normal(keys[1], (7,)),
            }
        },
        make_mesh(),
    )


def abstract(tree):
    shapes = jax.eval_shape(lambda: tree)
    return with_shardings(shapes, parameter_shardings(shapes, make_mesh()))


def save(workdir, steps):
    with RunCheckpoints(workdir) as checkpoints:
        for step in steps:
            about = {"kind": "mae", "k": 4, "progress": {"step": step}}
            checkpoints.save(step, weights(step), TRAINING, about)


def restore(workdir):
    with RunCheckpoints(workdir) as checkpoints:
        restored = checkpoints.restore(abstract(weights(0)), abstract(TRAINING))
        assert restored is not None
        return restored[:2]


def biggest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def truncate(checkpoint):
    file = biggest(checkpoint / "parameters")
    file.write_bytes(file.read_bytes()[:1000])


def remove(checkpoint):
    biggest(checkpoint / "parameters").unlink()


def flip(checkpoint):
    file = biggest(checkpoint / "parameters")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def garble_structure(checkpoint):
    (checkpoint / "parameters" / "_METADATA").write_text("{]")


def garble_about(checkpoint):
    (checkpoint / "about" / "metadata").write_text("no JSON at all")


def garble_checksums(checkpoint):
    (checkpoint / "checksums.json").write_text("[1, 2]")


def empty(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


DAMAGES = {
    truncate: "has 1000 bytes instead of",
    remove: "is missing",
    flip: "holds other bytes than were written",
    garble_structure: "parameters/_METADATA has 2 bytes instead of",
    garble_about: "about/metadata has 14 bytes instead of",
    garble_checksums: "checksums.json cannot be read",
    empty: "checksums.json is missing",
    lambda checkpoint: shutil.rmtree(checkpoint / "parameters"): "parameters is missing",
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.items())
def test_the_one_before_a_damaged_checkpoint_is_used(tmp_path, caplog, damage, reason):
    save(tmp_path, (4, 6))
    damage(tmp_path / LATEST / "6")

    # weights of a workdir: nothing is moved, and one warning for all that is read
    assert read_about(tmp_path, "mae", "mae")["k"] == 4
    found = load_weights(tmp_path, "mae", jax.eval_shape(lambda: weights(0)), make_mesh())
    np.testing.assert_array_equal(found["layer"]["kernel"], weights(4)["layer"]["kernel"])
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"mae={tmp_path}/{LATEST}: the checkpoint of step 6 is damaged: ")
    assert reason in line
    assert line.endswith("; going back to step 4")
    assert jobs.saved_steps(tmp_path / LATEST) == [4, 6]

    # the run itself: the damaged one is set aside, and its step saved again
    caplog.clear()
    refuse_other_settings(tmp_path, {"kind": "mae", "k": 4})
    step, parameters = restore(tmp_path)
    assert step == 4
    jobs.assert_same_arrays(parameters["layer"], weights(4)["layer"])
    (line,) = (record.getMessage() for record in caplog.records)
    assert reason in line
    assert jobs.saved_steps(tmp_path / LATEST) == [4]
    assert [path.name for path in (tmp_path / DAMAGED).iterdir()] == ["6-1"]
    save(tmp_path, (5, 6))
    assert jobs.saved_steps(tmp_path / LATEST) == [5, 6]
    assert restore(tmp_path)[0] == 6


def test_a_damaged_state_still_has_good_weights(tmp_path, caplog):
    save(tmp_path, (4, 6))
    shutil.rmtree(tmp_path / LATEST / "6" / "training")
    load_weights(tmp_path, "mae", jax.eval_shape(lambda: weights(0)), make_mesh())
    assert not caplog.records
    assert restore(tmp_path)[0] == 4


def test_two_damages_of_one_step_are_both_kept(tmp_path):
    save(tmp_path, (4, 6))
    for number in (1, 2):
        truncate(tmp_path / LATEST / "6")
        assert restore(tmp_path)[0] == 4
        assert (tmp_path / DAMAGED / f"6-{number}").is_dir()
        save(tmp_path, (6,))


def test_if_all_are_damaged_nothing_is_moved(tmp_path):
    save(tmp_path, (4, 6))
    truncate(tmp_path / LATEST / "6")
    flip(tmp_path / LATEST / "4")
    for _ in range(2):
        with pytest.raises(UserError, match=r"no whole checkpoint .*step 6 .*; .*step 4") as caught:
            restore(tmp_path)
        assert "\n" not in str(caught.value)
        assert jobs.saved_steps(tmp_path / LATEST) == [4, 6]
    with pytest.raises(UserError, match=f"mae={tmp_path}/{LATEST} holds no whole checkpoint"):
        load_weights(tmp_path, "mae", jax.eval_shape(lambda: weights(0)), make_mesh())


def test_weights_that_are_kept_once_are_refused_when_damaged(tmp_path):
    save_weights(tmp_path, 3, weights(3), {"kind": "mae"})
    flip(tmp_path / "3")
    with pytest.raises(UserError, match=r"step 3 is damaged: .* holds other bytes"):
        load_weights(tmp_path, "mae", jax.eval_shape(lambda: weights(0)), make_mesh())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("_CHECKPOINT_METADATA", '"x"'),
        ("_CHECKPOINT_METADATA", '{"init_timestamp_nsecs": "x"}'),
        ("_CHECKPOINT_METADATA", "[" * 100_000),
        ("checksums.json", "[" * 100_000),
        ("checksums.json", '{"about/\\u0000": {"bytes": 1}}'),
        ("checksums.json", '{"about/metadata": 5}'),
    ],
)
def test_damaged_records_of_a_checkpoint_are_refused(tmp_path, name, text):
    save_weights(tmp_path, 3, weights(3), {"kind": "mae"})
    (tmp_path / "3" / name).write_text(text)
    with pytest.raises(UserError, match=r"damaged|no whole checkpoint") as refused:
        read_about(tmp_path, "mae", "mae")
    assert "\n" not in str(refused.value)


def test_every_file_of_the_arrays_has_its_checksum(tmp_path):
    save(tmp_path, (4,))
    checkpoint = tmp_path / LATEST / "4"
    written = set(json.loads((checkpoint / "checksums.json").read_text()))
    for item in ("parameters", "training", "about"):
        there = {
            path.relative_to(checkpoint).as_posix()
            for path in (checkpoint / item).rglob("*")
            if path.is_file()
        }
        assert there <= written


def test_arrays_that_do_not_fit_are_named_with_both_shapes(tmp_path):
    save_weights(tmp_path, 3, weights(3), {"kind": "mae"})
    other = {"layer": {"kernel": jnp.zeros((60, 80)), "scale": jnp.zeros(7)}}
    with pytest.raises(UserError) as caught:
        load_weights(tmp_path, "init_from", jax.eval_shape(lambda: other), make_mesh())
    assert str(caught.value) == (
        f"init_from={tmp_path}, step 3, does not fit this model: layer.bias: 7 there, nothing "
        "here; layer.kernel: 60x70 there, 60x80 here; layer.scale: nothing there, 7 here"
    )


def test_a_cut_off_save_leaves_nothing_for_good(tmp_path):
    save(tmp_path, (4,))
    unfinished = tmp_path / LATEST / "5.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / LATEST / "4", unfinished)
    save(tmp_path, (6,))
    assert sorted(path.name for path in (tmp_path / LATEST).iterdir()) == ["4", "6"]
