"""What processes must have alike, with the other process's answer put in its place."""

import re

import pytest
from ml_collections import ConfigDict

from rffr_jax.cluster import memory, processes
from rffr_jax.cluster.agreement import agree_on_devices, require_same_config, require_same_data
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.models import attention
from tests import jobs
from tests.cluster.test_processes import ended, free_port, started


def two_processes(monkeypatch, check, change):
    """Runs `check` in a run of two, of which the second says the same but for `change`."""
    said = []

    def all_gather_objects(facts):
        said.append(facts)
        return [facts, {**facts, **change}]

    monkeypatch.setattr(processes, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "all_gather_objects", all_gather_objects)
    check()
    assert len(said) == 1


CONFIG = ConfigDict({"steps": 4, "data": {"train": ("a", "b")}, "optimizer": {"b1": 0.9}})


def test_equal_processes_go_on(monkeypatch, tmp_path):
    two_processes(monkeypatch, lambda: require_same_config(CONFIG, tmp_path), {})


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"--config.optimizer.b1": 0.8}, "--config.optimizer.b1: 0.9 in process 0, 0.8"),
        ({"--config.new": 1}, "--config.new: nothing in process 0, 1"),
        ({"jax": "0.1"}, "in process 0, 0.1"),
        ({"--workdir": "/b", "--config.steps": 5}, r"4 in process 0, 5 in process 1; --workdir: "),
    ],
)
def test_what_differs_is_named(monkeypatch, tmp_path, change, difference):
    with pytest.raises(UserError, match="process 1 does not have .*" + difference):
        two_processes(monkeypatch, lambda: require_same_config(CONFIG, tmp_path), change)


def test_other_data_is_other_examples_or_files_of_another_size(monkeypatch, tmp_path):
    summaries = []

    def summarise(folder):
        dataset = load_dataset(f"csv:{folder}/train.csv")
        monkeypatch.setattr(processes, "process_count", lambda: 2)
        seen = {}
        monkeypatch.setattr(
            processes, "all_gather_objects", lambda facts: [seen.update(facts) or facts] * 2
        )
        require_same_data(train=dataset)
        summaries.append(seen["data.train"])

    for place in ("here", "there", "size", "label"):
        jobs.draw_faces(tmp_path / place / "train", seed=0)
    (tmp_path / "size" / "train" / "real3.png").write_bytes(b"other")
    table = tmp_path / "label" / "train.csv"
    table.write_text(table.read_text().replace("rows2.png,1,rows", "rows2.png,1,columns"))
    for place in ("here", "there", "size", "label"):
        summarise(tmp_path / place)
    assert summaries[0] == summaries[1]  # the same files on another disk
    assert len(set(summaries)) == 3
    assert re.fullmatch(r"18 examples, digest [0-9a-f]{12}", summaries[0])


def test_processes_are_asked_about_fused_attention(monkeypatch):
    monkeypatch.setattr(processes, "process_count", lambda: 2)
    monkeypatch.setattr(memory, "agree_on_device_memory", lambda: None)
    monkeypatch.setattr(attention, "_ask_processes", None)
    agree_on_devices()
    assert attention._ask_processes is processes.all_gather_objects
    assert processes.all_gather_objects(True) == [True]


# A kernel that process 1 has for four tokens only, in programs of the kind that a training has.
KERNEL_THAT_ONE_LACKS = """
import sys
import jax, jax.numpy as jnp, numpy as np
process, port = map(int, sys.argv[1:])
jax.config.update("jax_num_cpu_devices", 1)
from rffr_jax.cluster import agreement, processes
from rffr_jax.cluster.launch import Launch
from rffr_jax.models.attention import attention

computed, asked = jax.nn.dot_product_attention, []

def kernel(query, key, value, *, implementation, **options):
    asked.append(query.shape)
    if process == 1 and query.shape[1] != 4:
        raise RuntimeError("no plan")
    return computed(query, key, value, implementation="xla", **options)

@jax.jit
@jax.grad
def gradient(heads):
    def layer(heads, _):
        return heads + jax.vmap(attention)(heads, heads, heads), None
    heads, _ = jax.lax.scan(jax.checkpoint(layer), heads, length=2)
    return heads.astype(jnp.float32).sum()

with processes.join_processes(Launch(process, 2, f"localhost:{port}", "", None)):
    agreement.agree_on_devices()
    jax.default_backend, jax.nn.dot_product_attention = lambda: "gpu", kernel
    for tokens in (4, 5):
        asked.clear()
        found = gradient(jnp.ones((3, 2, tokens, 2, 8), jnp.bfloat16))
        assert np.isfinite(np.asarray(found, np.float32)).all()
        probed, used = ((rows, tokens, 2, 8) in asked for rows in (1, 2))
        print(tokens, probed, used)
"""


@pytest.mark.slow
def test_two_processes_agree_on_fused_attention_while_they_trace():
    port = free_port()
    commands = [["-c", KERNEL_THAT_ONE_LACKS, str(number), str(port)] for number in (0, 1)]
    with started(commands) as children:
        codes, outputs, _ = ended(children)
    assert codes == [0, 0], outputs
    assert [said.splitlines()[-2:] for said, _ in outputs] == [["4 True True", "5 True False"]] * 2
    assert "does not work in process 1: none uses it" in outputs[0][1]
