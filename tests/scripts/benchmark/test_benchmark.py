"""`python -m scripts.benchmark` as a user starts it."""

import json
import subprocess
import sys

import pytest

from scripts.benchmark import __main__ as benchmark

OURS = {
    "residual": ["rffr_jax", "rffr_jax, all passes at once"],
    "pretrain": ["rffr_jax", "rffr_jax, freed memory returned"],
    "detect": ["rffr_jax", "rffr_jax, freed memory returned"],
    "evaluate": ["rffr_jax, residuals recomputed", "rffr_jax, residuals kept"],
    "input": ["rffr_jax, records, one thread", "rffr_jax, records in batches"],
}

# Measured: up to 5e-6, of residuals in [-1, 1]; scores here are of residuals kept in 16 bits.
TOLERANCE = {"evaluate": 1e-3}


@pytest.fixture
def quick_to_compile(monkeypatch):
    """The processes of the benchmark compile with little optimisation, as these tests do."""
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")


def run(folder, *flags) -> dict:
    assert benchmark.main(["--quick", "--output", str(folder), *flags]) == 0
    assert (folder / "benchmark.md").read_text().count("\n### ") >= 1
    return json.loads((folder / "benchmark.json").read_text())


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], "the following arguments are required: --output"),
        (["--output", "x", "--rows", "residual,training"], "'training' is not known"),
        (["--output", "x", "--dtype", "float16"], "'float16' is not known"),
        (["--output", "x", "--batch", "0"], "'0' is not a number of 1 or more"),
        (["--output", "x", "--batch", "residual=two"], "'two' is not a number of 1 or more"),
        (["--output", "x", "--batch", "speed=2"], "'speed' is not known"),
        (["--output", "x", "--quik"], "unrecognized arguments: --quik"),
    ],
)
def test_a_bad_flag_is_told_in_one_line(capsys, flags, reason):
    assert benchmark.main(flags) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--size", "vit_huge"], "model.size='vit_huge' is not known"),
        (["--image-size", "57"], "model.image_size=57 is not a multiple"),
        (["--image-size", "8"], "blocks.k=4 does not fit a grid of 2 x 2"),
    ],
)
def test_shapes_that_do_not_fit_are_told_in_one_line(capsys, tmp_path, flags, reason):
    assert benchmark.main(["--quick", "--output", str(tmp_path), *flags]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_told_in_one_line(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert benchmark.main(["--quick", "--output", str(tmp_path / "file" / "below")]) == 2
    assert "cannot be written to" in capsys.readouterr().err


def test_help_needs_no_jax():
    code = (
        "import sys; from scripts.benchmark import __main__ as benchmark\n"
        "try: benchmark.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(int('jax' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120)
    assert done.returncode == 0
    assert b"--no-torch" in done.stdout


@pytest.mark.slow
def test_all_rows_without_pytorch(tmp_path, quick_to_compile):
    held = run(tmp_path, "--no-torch")
    assert {name: [row["who"] for row in held["rows"] if row["work"] == name] for name in OURS} == (
        OURS
    )
    rows = {row["work"]: row for row in held["rows"] if row["who"] == "rffr_jax"}
    rows |= {row["who"]: row for row in held["rows"] if row["who"] != "rffr_jax"}
    for row in held["rows"]:
        assert row["median_seconds"] > 0
        assert len(row["seconds"]) == 2
        assert row["memory"]["peak_bytes"] > row["memory"]["before_bytes"] / 2 > 0
    batch = benchmark.QUICK.batches
    at_once = rows["rffr_jax, all passes at once"]
    assert at_once["difference"] < 1e-5
    for row in (rows["residual"], at_once):
        assert row["flops"] == batch["residual"] * flops_of_residual()
    assert rows["pretrain"]["flops"] == batch["pretrain"] * flops_of_pretraining()
    kept, recomputed = (rows[f"rffr_jax, residuals {way}"] for way in ("kept", "recomputed"))
    once = batch["evaluate"] * flops_of_residual()
    assert recomputed["flops"] - kept["flops"] == once
    assert kept["difference"] == 0
    assert held["figure_5"]["float32"]["times_less"] > 0
    assert held["command"] == (
        f"python -m scripts.benchmark --quick --output {tmp_path} --no-torch"
    )
    assert any("PyTorch was left out" in note for note in held["notes"])


@pytest.mark.parity
def test_a_step_of_a_rival_beside_pytorch(tmp_path, quick_to_compile):
    pytest.importorskip("torch")
    held = run(tmp_path, "--rows=xception,uia_vit")
    rows = {(row["work"], row["who"]): row for row in held["rows"]}
    assert rows["xception", "PyTorch, timm"]["reason"] == "timm's legacy_xception has one size only"
    for row in (
        rows["xception", "rffr_jax"],
        rows["uia_vit", "rffr_jax"],
        rows["uia_vit", "PyTorch"],
    ):
        assert row["median_seconds"] > 0
        assert row["flops"] > 0


@pytest.mark.parity
def test_pytorch_does_the_same_work(tmp_path, quick_to_compile):
    pytest.importorskip("transformers")
    held = run(tmp_path, "--rows=residual,pretrain,detect,evaluate")
    peers = [row for row in held["rows"] if row["who"].startswith("PyTorch")]
    assert [row["work"] for row in peers] == ["residual"] * 2 + ["pretrain", "detect", "evaluate"]
    for row in peers:
        assert "reason" not in row
        assert row["median_seconds"] > 0
        assert row["flops"] > 0
        assert row["difference"] < TOLERANCE.get(row["work"], 2e-5)


# ---- counted by hand: 2 operations for every multiply-add

PATCHES, HIDDEN, BLOCKS, PIXELS = 196, 9, 16, 3 * 4 * 4  # 56 px, patches of 4 px, k = 4
WIDTH, DEPTH = 32, 2  # of encoder and decoder
VISIBLE = PATCHES - HIDDEN
EMBEDDING = 2 * PATCHES * PIXELS * WIDTH


def layer(tokens: int, queries: int) -> int:
    keys_and_values = 2 * tokens * WIDTH * 2 * WIDTH
    query_and_projection = 2 * 2 * queries * WIDTH * WIDTH
    attention = 2 * 2 * queries * tokens * WIDTH
    mlp = 2 * 2 * queries * WIDTH * 4 * WIDTH
    return keys_and_values + query_and_projection + attention + mlp


def one_block() -> int:
    seen, all_tokens = 1 + VISIBLE, 1 + PATCHES
    encoder = DEPTH * layer(seen, seen)
    decoder = (DEPTH - 1) * layer(all_tokens, all_tokens) + layer(all_tokens, HIDDEN)
    return encoder + 2 * seen * WIDTH * WIDTH + decoder + 2 * HIDDEN * WIDTH * PIXELS


def flops_of_residual() -> int:
    return EMBEDDING + BLOCKS * one_block()


def flops_of_pretraining() -> int:
    """Forward, and twice that backward; pixels have no gradient."""
    return 3 * one_block() + 2 * EMBEDDING
