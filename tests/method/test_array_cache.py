"""Arrays come back bit for bit, whatever happens to the files and whoever else writes."""

import hashlib
import logging
import multiprocessing
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from jax.typing import DTypeLike

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.method import array_cache
from rffr_jax.method.array_cache import ArrayCache, MemoryBudget

SHAPE = (3, 5)
BYTES = 30


def arrays(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype(np.float16)


def digests(values):
    names = [hashlib.blake2b(value.tobytes(), digest_size=16).digest() for value in values]
    return np.frombuffer(b"".join(names), np.uint8).reshape(-1, 16)


def nothing(parameters, images):
    raise AssertionError("nothing is computed here")


def store(folder, memory=0, shape=SHAPE, dtype: DTypeLike = np.float16, about=None):
    """Keeps `memory` arrays in memory."""
    return ArrayCache(
        "arrays",
        nothing,
        {},
        make_mesh(),
        shape=shape,
        dtype=dtype,
        about=about or {},
        folder=folder,
        memory=MemoryBudget(memory * BYTES / 1e9),
    )


def filled(folder, values, memory=0):
    made = store(folder, memory)
    made.add(digests(values), values)
    made.flush()
    return made


def assert_holds(found, values):
    assert len(found) == len(values)
    for one, value in zip(found, values, strict=True):
        assert one is not None
        assert one.dtype == np.float16
        np.testing.assert_array_equal(one, value)
        assert not one.flags.writeable


def files(folder):
    return sorted(folder.glob("*/*.npy"))


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr(array_cache, "FILE_BYTES", 3 * BYTES)


@pytest.mark.parametrize("memory", [0, 4, 10])
def test_what_was_added_is_there_at_once_and_in_the_next_run(tmp_path, small_files, memory):
    values = arrays(10)
    made = store(tmp_path / "new", memory)
    made.add(digests(values), values)
    assert_holds(made.read(digests(values)), values)
    made.flush()
    assert len(files(tmp_path / "new")) == 4
    assert_holds(made.read(digests(values)[::-1]), values[::-1])
    assert_holds(store(tmp_path / "new", memory).read(digests(values)), values)


def test_what_was_not_added_is_not_there(tmp_path):
    made = filled(tmp_path, arrays(4), memory=2)
    other = arrays(1, seed=1)
    assert made.read(digests(np.concatenate([other, arrays(4)])))[0] is None
    assert not made.holds(digests(np.concatenate([other, arrays(4)])))
    assert made.holds(digests(arrays(4)))
    with_twins = digests(arrays(4))[[1, 1, 3]]
    assert_holds(made.read(with_twins), arrays(4)[[1, 1, 3]])


def test_memory_is_bounded_over_all_who_share_it():
    values = arrays(8)
    made = store(None, memory=5)
    assert made.memory.take(2 * BYTES)
    made.add(digests(values), values)
    found = made.read(digests(values))
    assert_holds(found[:3], values[:3])
    assert found[3:] == [None] * 5
    assert not made.memory.take(1)


def test_an_array_that_is_changed_outside_stays_as_it_was(tmp_path):
    values = arrays(2)
    names, before = digests(values), values.copy()
    made = filled(tmp_path, values, memory=1)
    values[:] = 0
    assert_holds(made.read(names), before)


def test_a_thread_reads_while_another_writes(tmp_path, monkeypatch):
    values, save, read = arrays(2), np.save, threading.Event()
    made = store(tmp_path)
    with ThreadPoolExecutor(1) as thread:

        def save_while_it_reads(file, rows):
            reading.append(thread.submit(made.read, digests(values)))
            reading[0].add_done_callback(lambda _: read.set())
            read.wait(0.5)  # it must wait for the file, in which alone the rows are then
            save(file, rows)

        reading = []
        monkeypatch.setattr(np, "save", save_while_it_reads)
        made.add(digests(values), values)
        made.flush()
        assert_holds(reading[0].result(), values)


def test_files_of_others_are_found_while_it_runs(tmp_path):
    mine, theirs = filled(tmp_path, arrays(2)), arrays(3, seed=1)
    assert mine.read(digests(theirs)) == [None] * 3
    filled(tmp_path, theirs)
    assert_holds(mine.read(digests(theirs)), theirs)
    mine.add(digests(theirs), theirs)
    mine.flush()
    assert len(files(tmp_path)) == 2


def test_another_shape_is_not_taken_for_this_one(tmp_path, caplog):
    values = arrays(4)
    filled(tmp_path, values)
    assert store(tmp_path, shape=(5, 4)).read(digests(values)) == [None] * 4
    assert "arrays of another shape" in caplog.text


def test_another_type_is_not_taken_for_this_one_and_comes_back_whole(tmp_path, caplog):
    values = arrays(4)
    filled(tmp_path, values)
    exact = np.random.default_rng(1).normal(size=(4, *SHAPE)).astype(np.float32)
    made = store(tmp_path, dtype=np.float32)
    assert made.read(digests(values)) == [None] * 4
    assert "arrays of another shape" in caplog.text
    made.add(digests(values), exact)
    made.flush()
    for one, value in zip(
        store(tmp_path, dtype=np.float32).read(digests(values)), exact, strict=True
    ):
        assert one is not None
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, value)


def test_another_key_has_another_folder(tmp_path, caplog):
    values = arrays(4)
    filled(tmp_path, values)
    assert store(tmp_path, about={"size": 2}).read(digests(values)) == [None] * 4
    assert not caplog.records


DAMAGES = {
    "empty": lambda data: b"",
    "cut in the header": lambda data: data[:7],
    "cut in the rows": lambda data: data[:-1],
    "no header": lambda data: bytes(len(data)),
    "a header that says nothing": lambda data: data[:10] + b"(" * 50 + data[60:],
    "another digest": lambda data: data[:-50] + bytes([data[-50] ^ 1]) + data[-49:],
    "another number": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_as_if_they_were_not_there(tmp_path, damage, caplog):
    values = arrays(6)
    filled(tmp_path, values[:2])
    (damaged,) = files(tmp_path)
    filled(tmp_path, values[2:4])
    damaged.write_bytes(damage(damaged.read_bytes()))
    (damaged.parent / "more.npy").write_bytes(b"too short")
    caplog.set_level(logging.WARNING)
    again = store(tmp_path)
    found = again.read(digests(values))
    assert_holds(found[2:4], values[2:4])
    for one, value in zip(found[:2], values[:2], strict=True):
        assert one is None or np.array_equal(one, value)
    assert any(one is None for one in found[:2])
    (warning,) = caplog.records
    assert "computed anew" in warning.message
    again.add(digests(values), values)
    again.flush()
    assert_holds(again.read(digests(values)), values)
    assert_holds(store(tmp_path).read(digests(values)), values)


def test_a_folder_that_vanishes_is_no_harm(tmp_path):
    folder = tmp_path / "store"
    made = filled(folder, arrays(4), memory=1)
    shutil.rmtree(folder)
    found = made.read(digests(arrays(4)))
    assert_holds(found[:1], arrays(4)[:1])
    assert found[1:] == [None] * 3
    made.add(digests(arrays(4)), arrays(4))
    made.flush()
    assert_holds(made.read(digests(arrays(4))), arrays(4))


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    values = arrays(6)
    made = store(tmp_path / "file" / "store", memory=2)
    for part in (slice(0, 3), slice(3, 6)):
        made.add(digests(values[part]), values[part])
        made.flush()
    assert_holds(made.read(digests(values))[:2], values[:2])
    assert made.read(digests(values))[2:] == [None] * 4
    (warning,) = caplog.records
    assert "cannot be written (Not a directory)" in warning.message


def _write(folder, seeds):
    for seed in seeds:
        filled(folder, arrays(20, seed))


@pytest.mark.slow
def test_many_writers_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, seeds)) for seeds in ((0, 1), (0, 2))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=300)
        assert writer.exitcode == 0
    values = np.concatenate([arrays(20, seed) for seed in range(3)])
    assert_holds(store(tmp_path).read(digests(values)), values)
    assert len(files(tmp_path)) == 4
    assert not list(tmp_path.rglob("*.part"))


def _die_while_writing(folder):
    import os

    def atomic_write(path):
        class Dying:
            def __enter__(self):
                part = path.with_name(f".{path.name}.part")
                part.write_bytes(b"half of a fi")
                os._exit(9)

            def __exit__(self, *_):
                pass

        return Dying()

    array_cache.atomic_write = atomic_write
    filled(folder, arrays(5))


def test_a_writer_that_is_killed_leaves_nothing_that_is_read(tmp_path, caplog):
    filled(tmp_path, arrays(2, seed=1))
    process = multiprocessing.get_context("spawn").Process(
        target=_die_while_writing, args=(tmp_path,)
    )
    process.start()
    process.join(timeout=300)
    assert process.exitcode == 9
    assert len(list(tmp_path.glob("*/.*.part"))) == 1
    again = store(tmp_path)
    assert again.read(digests(arrays(5))) == [None] * 5
    assert_holds(again.read(digests(arrays(2, seed=1))), arrays(2, seed=1))
    again.add(digests(arrays(5)), arrays(5))
    again.flush()
    assert_holds(store(tmp_path).read(digests(arrays(5))), arrays(5))
    assert not caplog.records
