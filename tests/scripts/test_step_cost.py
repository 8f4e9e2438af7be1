"""FLOPs and bytes of a step: by hand and in the program, for sizes drawn anew at every run."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import pretrain
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.data.pipeline import empty_batch
from rffr_jax.errors import UserError
from rffr_jax.models import sizes
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.training.flops import matrix_flops
from rffr_jax.training.mae_training import MAETraining
from scripts.step_cost import __main__ as step_cost
from scripts.step_cost import detector
from scripts.step_cost.cost import Step
from scripts.step_cost.detector import DetectorStep
from scripts.step_cost.pretraining import by_hand

ROOT = pathlib.Path(__file__).parents[2]


def random_size(rng) -> sizes.ModelSize:
    heads, decoder_heads = (int(n) for n in rng.integers(1, 4, 2))
    return sizes.ModelSize(
        width=4 * heads * int(rng.integers(1, 8)),
        depth=int(rng.integers(1, 4)),
        heads=heads,
        decoder_width=4 * decoder_heads * int(rng.integers(1, 8)),
        decoder_depth=int(rng.integers(1, 4)),
        decoder_heads=decoder_heads,
    )


def random_step(name: str, rng) -> Step:
    k, patch = int(rng.integers(2, 4)), int(rng.integers(2, 6))
    grid = int(rng.integers(k, 8))
    return Step(
        size=name, image_size=grid * patch, patch_size=patch, k=k, batch=int(rng.integers(1, 4))
    )


@pytest.mark.parametrize("remat", [False, True])
def test_flops_by_hand_are_those_of_the_traced_step(monkeypatch, remat):
    seed = np.random.SeedSequence().entropy
    rng = np.random.default_rng(seed)
    name = f"drawn_{seed}"
    monkeypatch.setitem(sizes.SIZES, name, random_size(rng))
    step = dataclasses.replace(random_step(name, rng), remat=remat)
    config = pretrain.get_config()
    config.update(batch_size=step.batch, dtype="float32", remat=remat)
    for key in ("size", "image_size", "patch_size"):
        config.model[key] = getattr(step, key)
    config.blocks.k = step.k
    training = MAETraining(config, make_mesh())
    empty = empty_batch(step.batch, step.image_size, 0)
    batch = training.inputs(empty, 0, slice(0, step.batch))

    def loss(parameters, batch):
        return training.losses(parameters, batch).sum()

    abstract = jax.eval_shape(training.init_parameters)
    traced = jax.make_jaxpr(jax.value_and_grad(loss))(abstract, batch)
    assert by_hand(step).flops == matrix_flops(traced, recomputed=True), (seed, step)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("blocks", ["random", "2", "full"])
@pytest.mark.parametrize("remat", [False, True])
def test_flops_by_hand_are_those_of_the_traced_step_of_a_detector(monkeypatch, blocks, kept, remat):
    seed = np.random.SeedSequence().entropy
    rng = np.random.default_rng(seed)
    name = f"drawn_{seed}"
    monkeypatch.setitem(sizes.SIZES, name, random_size(rng))
    drawn = {**dataclasses.asdict(random_step(name, rng)), "batch": 4 * int(rng.integers(1, 4))}
    step = DetectorStep(**{**drawn, "remat": remat}, blocks=blocks, kept=kept)
    detection = detector.detection_of(step)
    losses = detector.losses_of(step, detection)

    def loss(parameters, frozen, batch):
        return losses(parameters, frozen, batch)[0]["loss"].sum()

    shapes = detection.abstract_parameters, detection.abstract_frozen, detector.input_shapes(step)
    traced = jax.make_jaxpr(jax.value_and_grad(loss))(*shapes)
    assert detector.by_hand(step).flops == matrix_flops(traced, recomputed=True), (seed, step)


def test_random_blocks_cost_the_mae_what_their_expected_number_costs():
    def of_mae(blocks: str) -> float:
        computed = DetectorStep(batch=16, blocks=blocks)
        kept = dataclasses.replace(computed, kept=True)
        return detector.by_hand(computed).flops - detector.by_hand(kept).flops

    counts = DetectorStep(batch=16).counts
    assert (len(counts), sum(counts) / 16) == (16, 4.0)
    assert of_mae("random") == of_mae("4")
    assert of_mae("8") - of_mae("4") == of_mae("16") - of_mae("12")
    assert of_mae("full") == of_mae("16") == pytest.approx(16 * 686.4e9, rel=1e-4)


def test_weights_by_hand_are_those_of_the_model():
    """Memory of two meshes, of which one splits 32 bytes a weight in two."""
    whole, split = (by_hand(Step(batch=8, devices=8, fsdp=fsdp)) for fsdp in (1, 2))
    weights = (whole.memory - split.memory) / 16
    _, abstract = abstract_mae(sizes.ModelSettings("vit_b16", 224, 16))
    assert weights == sum(leaf.size for leaf in jax.tree.leaves(abstract))
    meshes = [DetectorStep(batch=64, devices=4, fsdp=fsdp, blocks="full") for fsdp in (1, 2)]
    whole, split = (detector.by_hand(step) for step in meshes)
    parameters = detector.detection_of(meshes[0]).abstract_parameters
    weights = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    assert (whole.memory - split.memory) / 16 == weights


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--batch", "7", "--devices", "2"], "must divide"),
        (["--devices", "6", "--fsdp", "4", "--batch", "12"], "must divide"),
        (["--devices", "0"], "must be 1 or more"),
        (["--gather", "some"], "must be 1 or more, and --gather all or layers"),
        (["--size", "vit_huge"], "vit_huge"),
        (["--images-s", "0"], "must be above 0"),
        (["--peak-tflops", "-989"], "must be above 0"),
        (["--image-size", "225"], "not a multiple"),
        (["--kept"], "--kept and --blocks are for --job detect"),
        (["--job", "detect", "--blocks", "17"], "random, full or a number from 1 to 16"),
        (["--job", "detect", "--gather", "layers"], "only for pretraining"),
        (["--job", "detect", "--batch", "3"], "do not fit blocks.group=16"),
    ],
)
def test_a_mistake_is_told(flags, reason):
    with pytest.raises(UserError, match=reason):
        step_cost.main([*flags, "--by-hand"])


def test_the_longest_time_bounds_the_step(capsys):
    flops = by_hand(Step()).flops
    peak = flops / 1e12 / 0.5  # half a second
    rates = [f"--peak-tflops={peak}", "--memory-gb-s=1e6", "--network-gb-s=1", "--images-s=128"]
    assert step_cost.main(["--by-hand", *rates]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    assert "bounds the step" in cells["input"]
    assert cells["input"].split("|")[2].strip() == "1e+03"
    assert cells["compute"].split("|")[2:4] == [" 500       ", " 256              "]
    assert cells["network"].split("|")[2].strip() == "0"


def test_it_starts_from_the_root_and_compiles():
    command = [sys.executable, "-m", "scripts.step_cost", "--size=tiny", "--batch=1"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "compiled" in done.stdout


PROGRAM = """
import json, sys, dataclasses
from scripts.step_cost import detector, pretraining
from scripts.step_cost.cost import Step
from scripts.step_cost.detector import DetectorStep
given = json.loads(sys.argv[1])
part, kind = (detector, DetectorStep) if "blocks" in given else (pretraining, Step)
step = kind(**given)
print(json.dumps([dataclasses.asdict(cost) for cost in (part.by_hand(step), part.compiled(step))]))
"""


def assert_compiled_as_counted(step: Step):
    command = [sys.executable, "-c", PROGRAM, json.dumps(dataclasses.asdict(step))]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    hand, found = json.loads(done.stdout)
    for name in ("flops", "network", "input"):
        assert found[name] == pytest.approx(hand[name], rel=0.01), (name, step)
    assert found["memory"] > hand["memory"]
    assert found["held"] == pytest.approx(hand["held"], rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize(("fsdp", "gather"), [(1, "all"), (4, "all"), (2, "layers")])
def test_the_compiled_program_of_four_devices_does_what_was_counted(fsdp, gather):
    patch = 4 * int(np.random.default_rng().integers(3, 6))
    assert_compiled_as_counted(
        Step(
            "vit_ti16", image_size=5 * patch, patch_size=patch, batch=8, devices=4, fsdp=fsdp,
            gather=gather,
        )
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fsdp", "blocks", "kept"), [(1, "random", False), (4, "full", False), (2, "3", True)]
)
def test_the_compiled_step_of_a_detector_does_what_was_counted(fsdp, blocks, kept):
    patch = 4 * int(np.random.default_rng().integers(3, 6))
    assert_compiled_as_counted(
        DetectorStep(
            "vit_ti16", image_size=6 * patch, patch_size=patch, k=3, batch=16, devices=4, fsdp=fsdp,
            blocks=blocks, kept=kept,
        )
    )  # fmt: skip
