"""What `auto` means for worker processes and kept pixels."""

import pytest

from rffr_jax.data import loading
from rffr_jax.data.loading import Loading, choose_loading
from rffr_jax.data.selection import select_examples
from rffr_jax.errors import UserError
from rffr_jax.synthetic.dataset import SyntheticDataset


@pytest.fixture
def machine(monkeypatch):
    """Eight cores, 16 GB, and room in the shared memory."""
    monkeypatch.setattr(loading, "usable_cores", lambda: 8)
    monkeypatch.setattr(loading, "_free_memory", lambda: 16e9)
    monkeypatch.setattr(loading, "has_shared_memory", lambda *_: True)
    monkeypatch.setattr(loading, "SHARED", True)
    return monkeypatch


def choose(size=64, count=4096, **changes):
    options = {"workers": "auto", "cache": "auto", "batches": 1000, "batch_size": 32}
    dataset = select_examples(SyntheticDataset(0, "train"), range(count))
    return choose_loading(dataset, size, **(options | changes))


def test_pixels_that_fit_are_kept_and_all_cores_but_one_make_them(machine):
    assert choose() == Loading(7, True)
    assert choose(processes=3) == Loading(1, True)
    assert choose(processes=8) == Loading(0, True)
    assert choose(size=512) == Loading(7, False)  # 3.2 GB
    machine.setattr(loading, "_free_memory", lambda: 0.0)
    assert choose() == Loading(7, False)


def test_little_work_is_no_reason_to_start_a_process(machine):
    assert choose(batches=10) == Loading(0, True)
    assert choose(count=100) == Loading(0, True)
    assert choose(count=100, blended=True) == Loading(7, True)
    machine.setattr(loading, "has_shared_memory", lambda *_: False)
    assert choose() == Loading(0, True)


def test_what_the_config_says_counts(machine):
    assert choose(workers="3", cache="False") == Loading(3, False)
    assert choose(workers="0") == Loading(0, True)
    machine.setattr(loading, "SHARED", False)
    assert choose() == Loading(7, False)
    assert choose(workers="0") == Loading(0, True)
    with pytest.raises(UserError, match=r"add --config\.data\.workers=0"):
        choose(workers="2", cache="True")
