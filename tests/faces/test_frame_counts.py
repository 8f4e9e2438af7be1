"""How many frames of a video are taken, as `--frames` says it."""

import pytest

from rffr_jax.errors import UserError
from rffr_jax.faces.frame_counts import parse_frames


def test_frames_left_out_keep_their_number_and_one_number_is_for_all():
    assert parse_frames("16") == {"train": 16, "validation": 16, "test": 16}
    assert parse_frames("all") == {"train": None, "validation": None, "test": None}
    assert parse_frames("train=16") == {"train": 16, "validation": 1, "test": 1}
    assert parse_frames("test=all,train=2") == {"train": 2, "validation": 1, "test": None}


def test_wrong_frames_are_told():
    for text, problem in (
        ("tran=16", "'tran' is unknown; write SPLIT=NUMBER for some of train, validation, test"),
        ("train=2,val=1", "the split 'val' is unknown"),
        ("train=2,train=3", "the split 'train' is twice"),
        ("16,test=2", "the split '16' is unknown"),
        ("train=2,", "the split '' is unknown"),
        ("train=0", "'0' is no number; give one from 1 up, or all"),
        ("train=\u00b2,validation=1,test=1", "'\u00b2' is no number"),
        ("train=-1", "'-1' is no number"),
        ("train=", "'' is no number"),
        ("0", "'0' is no number"),
        ("train", "'train' is no number"),
        ("16,2", "'16,2' is no number"),
        ("", "'' is no number"),
    ):
        with pytest.raises(UserError) as caught:
            parse_frames(text)
        assert problem in str(caught.value)
