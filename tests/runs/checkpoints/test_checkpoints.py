"""Checkpoints: weights alone, full states, and what a checkpoint is refused for."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from rffr_jax import __version__
from rffr_jax.cluster.sharding import init_sharded, make_mesh, parameter_shardings, with_shardings
from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.names import LATEST, best_checkpoint_name
from rffr_jax.runs.checkpoints.run_state import RunCheckpoints, refuse_other_settings
from rffr_jax.runs.checkpoints.weights import (
    find_checkpoint,
    is_checkpoint,
    load_weights,
    read_about,
    save_weights,
)
from tests import jobs


def weights(value, width=4):
    return init_sharded(
        lambda: {"layer": {"kernel": jnp.full((2, width), float(value))}}, make_mesh()
    )


def abstract(width=4):
    shapes = {"layer": {"kernel": jax.ShapeDtypeStruct((2, width), jnp.float32)}}
    return with_shardings(shapes, parameter_shardings(shapes, make_mesh()))


def load(folder, width=4):
    return load_weights(folder, "mae", abstract(width), make_mesh())["layer"]["kernel"]


def test_weights_come_back_with_what_is_known_of_them(tmp_path):
    save_weights(tmp_path, 7, weights(3), {"kind": "mae", "k": 4})
    np.testing.assert_array_equal(load(tmp_path), np.full((2, 4), 3.0))
    about = read_about(tmp_path, "mae", "mae")
    assert about == {"kind": "mae", "k": 4, "version": __version__}


def test_new_weights_replace_old_ones_of_any_step(tmp_path):
    for step, value in ((5, 1), (8, 2), (6, 3), (6, 4)):
        save_weights(tmp_path, step, weights(value), {"kind": "mae"})
        assert jobs.saved_steps(tmp_path) == [step]
        assert load(tmp_path)[0, 0] == value


def test_old_weights_are_there_until_the_new_are_whole(tmp_path, monkeypatch):
    save_weights(tmp_path, 8, weights(1), {"kind": "mae"})

    def die(self, *args, **kwargs):
        raise RuntimeError("the machine is gone")

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", die)
        for step in (6, 9):
            with pytest.raises(RuntimeError, match="the machine is gone"):
                save_weights(tmp_path, step, weights(2), {"kind": "mae"})
            assert jobs.saved_steps(tmp_path) == [8]
            assert load(tmp_path)[0, 0] == 1
    save_weights(tmp_path, 6, weights(2), {"kind": "mae"})
    assert jobs.saved_steps(tmp_path) == [6]


@pytest.mark.parametrize(
    ("validation", "method", "expected"),
    [
        ("Celeb-DF_v2", "", "Celeb-DF_v2"),
        ("a+b.1", "Face2Face", "a+b.1-Face2Face"),
        ("data/set", "a b:c", "data_set-a_b_c"),
        ("..", "", "_."),
        ("", "", "_"),
    ],
)
def test_bests_have_names_that_are_safe_for_files(validation, method, expected):
    assert best_checkpoint_name(validation, method) == expected


def test_a_run_keeps_its_two_newest_states_whole(tmp_path):
    about = {"kind": "mae", "progress": {"step": 0}}
    with RunCheckpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(abstract(), {"finite": jnp.array(True)}) is None
        for step in (2, 4, 6):
            training = {"finite": jnp.array(True), "count": jnp.array(step)}
            checkpoints.save(step, weights(step), training, about)
        checkpoints.save(6, weights(0), {"finite": jnp.array(True), "count": jnp.array(0)}, about)
    assert jobs.saved_steps(tmp_path / LATEST) == [4, 6]
    with RunCheckpoints(tmp_path) as checkpoints:
        training = {"finite": jnp.array(True), "count": jnp.array(0)}
        training = with_shardings(training, parameter_shardings(training, make_mesh()))
        restored = checkpoints.restore(abstract(), training)
    assert restored is not None
    step, parameters, training = restored
    assert (step, int(training["count"]), float(parameters["layer"]["kernel"][0, 0])) == (6, 6, 6)


def test_a_workdir_or_a_folder_of_weights_may_be_named(tmp_path):
    save_weights(tmp_path / LATEST, 1, weights(1), {"kind": "mae"})
    assert find_checkpoint(tmp_path, "mae") == tmp_path / LATEST
    assert find_checkpoint(tmp_path / LATEST, "mae") == tmp_path / LATEST


def test_half_written_checkpoints_do_not_count(tmp_path):
    (tmp_path / "3.orbax-checkpoint-tmp").mkdir()
    assert not is_checkpoint(tmp_path)
    with pytest.raises(UserError, match=f"mae={tmp_path} holds no checkpoint"):
        find_checkpoint(tmp_path, "mae")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=f"detector={tmp_path}/gone holds no checkpoint"):
        read_about(tmp_path / "gone", "detector", "detector")


def test_a_folder_with_numbers_that_is_no_checkpoint_is_named(tmp_path):
    (tmp_path / "0001").mkdir()
    with pytest.raises(UserError, match="holds no whole checkpoint of this program"):
        read_about(tmp_path, "mae", "mae")


def test_another_kind_is_refused(tmp_path):
    save_weights(tmp_path, 0, weights(1), {"kind": "mae"})
    with pytest.raises(UserError, match="holds a mae checkpoint, not a detector"):
        read_about(tmp_path, "detector", "detector")


def test_other_shapes_are_refused_in_one_line(tmp_path):
    save_weights(tmp_path, 0, weights(1, width=4), {"kind": "mae"})
    with pytest.raises(UserError, match="does not fit this model") as caught:
        load(tmp_path, width=6)
    assert "\n" not in str(caught.value)


def test_a_run_with_other_settings_is_refused_by_name(tmp_path):
    about = {"kind": "mae", "k": 4, "sizes": (1, 2)}
    refuse_other_settings(tmp_path, about)
    save_weights(tmp_path / LATEST, 3, weights(1), {**about, "progress": {"step": 3}})
    refuse_other_settings(tmp_path, about)
    with pytest.raises(UserError, match="k: 4 there, 2 in this config") as caught:
        refuse_other_settings(tmp_path, {**about, "k": 2})
    assert "kind" not in str(caught.value)


def test_a_checkpoint_of_an_older_program_is_refused_in_one_line(tmp_path, monkeypatch):
    save_weights(tmp_path, 0, weights(1), {"kind": "mae"})
    about = {"kind": "mae"}  # as it was written before versions were
    monkeypatch.setattr("rffr_jax.runs.checkpoints.weights.read_newest_about", lambda *_: about)
    with pytest.raises(UserError, match="was written by an older version of this program"):
        read_about(tmp_path, "mae", "mae")
