"""While a step runs, the next batch is put on the device: the loop waits for no step."""

import threading

import jax
import numpy as np
import pytest

from rffr_jax.training import loop
from rffr_jax.training.pretrain import Pretraining
from tests import jobs


def run(workdir, monkeypatch, *flags):
    """A pretraining in whose first step the device waits until the second batch is put there.

    Returns:
      Whether that happened while the first step ran, and the types of the images that were put.
    """
    puts, second_is_there, answers, types = [], threading.Event(), [], set()
    put_batch, losses = loop.put_batch, Pretraining.losses

    def put(batch, mesh):
        on_mesh = put_batch(batch, mesh)
        types.add(on_mesh["image"].dtype)
        puts.append(len(puts))
        if len(puts) == 2:
            second_is_there.set()
        return on_mesh

    def wait(weight):
        answers.append(second_is_there.wait(timeout=patience))
        return weight

    def waiting_losses(self, parameters, frozen, batch):
        weight = batch["weight"]
        weight = jax.pure_callback(wait, jax.ShapeDtypeStruct(weight.shape, weight.dtype), weight)
        return losses(self, parameters, frozen, batch) * weight

    patience = 5.0 if flags[0] == "log_every=1" else 120.0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "put_batch", put)
        patch.setattr(Pretraining, "losses", waiting_losses)
        patch.setattr(Pretraining, "evaluate", lambda *_: {})
        assert jobs.start("pretrain", workdir, *flags) == 0
    return answers[0], types


@pytest.mark.parametrize(("log_every", "expected"), [(4, True), (1, False)])
def test_the_next_batch_is_put_while_a_step_runs_but_not_past_a_log(
    tmp_path, monkeypatch, data, log_every, expected
):
    flags = (f"log_every={log_every}", *data, "save_every=10", "steps=4")
    overlapped, types = run(tmp_path, monkeypatch, *flags)
    assert overlapped == expected
    assert types == {np.dtype(np.uint8)}
