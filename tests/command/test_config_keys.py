"""The keys of configs, as the command's help and the documentation show them."""

import pytest

from rffr_jax.command import entry
from rffr_jax.command.config_keys import comments_in, config_keys
from rffr_jax.errors import UserError


def test_comments_stand_beside_their_keys():
    source = """
    # Of both,
    # in two lines.
    config.a, config.b.c = 1, 2
    # Of nothing.

    config.d = 3
    # Of a section.
    config.e = ConfigDict({"f": 4})
    # Of code that is no key.
    other = 5
    config.g = 6
"""
    both = "Of both, in two lines."
    assert comments_in(source) == {"a": both, "b.c": both, "e": "Of a section."}


def test_a_key_has_its_default_in_the_variant_and_its_comment():
    keys = {key.name: key for key in config_keys("recipes/detect", "64")}
    assert keys["model.size"].default == "mini"
    assert keys["blocks.blocks_per_pass"].comment == "A quarter of the passes, for a CPU."
    assert keys["detector.inputs"].comment == "Or original, residual."
    assert keys["optimizer.b1"].comment == ""


def test_every_config_has_keys():
    for name in entry.config_files():
        assert "job" in {key.name for key in config_keys(name)}, name


def test_help_shows_keys_with_their_comments(capsys):
    assert entry.run(["detect", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "  detector.residual = 'mae'\n      # Or unet, ridge, high_pass, zero.\n" in shown
    assert "get_config" not in shown


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ("pretrain:x", "pretrain has no variants; leave :x"),
        ("recipes/detect:65", "variant '65' is not known"),
    ],
)
def test_help_of_a_variant_that_is_not_there(job, says):
    with pytest.raises(UserError, match=says):
        entry.run([job, "--help"])
