"""How fast training images are made: prepared records of each image format, and drawn faces.

    python scripts/input_speed.py --input DIR [--images 600] [--size 224] [--seconds 3]
    python scripts/input_speed.py [--size 224] [--seconds 3]

Without --input faces are drawn one after another on one core, by threads, and by one and two worker
processes: images per second on the clock once the processes have started, the seconds that they
took to start, and the processor time of an image in all processes.

The photographs below --input are cut square, resized to --size and written as records of every
format into a temporary folder. The table has bytes per image (as encoded, and in the shards);
images that one core reads in a second of its processor time, one record after another in random
order; the same in batches of training that threads of one process read; and images per second on
the clock in such batches, read by threads and by two worker processes. Records come from the
system's file cache: a slow disk adds to it. Other programs lower only the last two columns.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np

from rffr_jax.cluster.command_line import run_program
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.pipeline import train_batches
from rffr_jax.data.readers.folder import list_images
from rffr_jax.data.readers.prepared import PreparedDataset
from rffr_jax.data.readers.records import FaceRecord
from rffr_jax.data.sampling import BalancedSampler
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces.shards import write_dataset
from rffr_jax.images.decode import read_image
from rffr_jax.images.image_formats import IMAGE_FORMATS, encode_crop

BATCH = 32
WORKERS = (0, 2)
DRAWING_WORKERS = (0, 1, 2)


def main(argv: list[str] | None = None) -> int:
    """Measures and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Speed and size of prepared records.", allow_abbrev=False
    )
    parser.add_argument("--input", help="folder of photographs; without it faces are drawn")
    parser.add_argument("--images", type=int, default=600, help="how many of them are used")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=3, help="of every measurement")
    args = parser.parse_args(argv)
    if not args.input:
        print(f"drawn faces of {args.size} pixels, {os.cpu_count()} cores, load "
              f"{os.getloadavg()[0]:.1f}")  # fmt: skip
        alone = draw_one_by_one(args.size, args.seconds)
        print(f"one after another on one core: {alone:.0f} images/s")
        for workers in DRAWING_WORKERS:
            rate, start, milliseconds = draw(args.size, workers, args.seconds)
            print(
                f"{workers} workers: {rate:.0f} images/s, {rate / alone:.2f} times as many, "
                f"{start:.1f} s to start, {milliseconds:.1f} ms of processor time an image"
            )
        return 0
    try:
        images = read_images(pathlib.Path(args.input), args.images, args.size)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(images)} images of {args.size} pixels, {os.cpu_count()} cores, load "
          f"{os.getloadavg()[0]:.1f}")  # fmt: skip
    columns = (
        "bytes", "in shards", "load/s/core", "batched/s/core",
        *(f"batched/s, {workers} workers" for workers in WORKERS),
    )  # fmt: skip
    print(f"{'format':8}" + "".join(f"{column:>22}" for column in columns))
    with tempfile.TemporaryDirectory() as folder:
        for image_format in IMAGE_FORMATS:
            numbers = measure(pathlib.Path(folder), images, image_format, args.size, args.seconds)
            print(f"{image_format:8}" + "".join(f"{number:22.0f}" for number in numbers))
    return 0


def draw_one_by_one(size: int, seconds: float) -> float:
    """Images a second in the order of a training, by one thread."""
    dataset = load_dataset("synthetic:0#train")
    sampler = BalancedSampler(dataset.examples, BATCH, 0)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    order = (sampler.index(*divmod(row, BATCH)) for row in itertools.count())
    for index in itertools.islice(order, BATCH):
        dataset.load(index, size)
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        dataset.load(next(order), size)
        count += 1
    rate = count / (time.perf_counter() - start)
    cv2.setNumThreads(threads)
    return rate


def draw(size: int, workers: int, seconds: float) -> tuple[float, float, float]:
    """Images a second, seconds to start, and processor milliseconds of an image."""
    dataset = CachedDataset(load_dataset("synthetic:0#train"), size, keep_pixels=True)
    batches = train_batches(
        dataset, size=size, batch_size=BATCH, seed=0, start_step=0, num_steps=10**6,
        balanced=True, workers=workers,
    )  # fmt: skip
    start = time.perf_counter()
    with contextlib.closing(batches):
        next(batches)
        began, spent = time.perf_counter(), _processor_seconds()
        made = _made(dataset)
        while time.perf_counter() < began + seconds:
            next(batches)
        count, end = _made(dataset) - made, time.perf_counter()
        spent = _processor_seconds() - spent
    return count / (end - began), began - start, 1000 * spent / count


def _made(dataset: CachedDataset) -> int:
    return int((dataset.hashes.digests > 0).sum())


def _processor_seconds() -> float:
    """Of this process and of those that it started."""
    tasks = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    ticks = 0
    for task in tasks:
        fields = pathlib.Path(f"/proc/{task}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def read_images(folder: pathlib.Path, count: int, size: int) -> list[np.ndarray]:
    """The first `count` usable photographs below a folder."""
    if not folder.is_dir():
        raise UserError(f"--input {folder}: no such folder")
    images = []
    for path in list_images(folder)[:count]:
        with contextlib.suppress(BadImageError):
            images.append(read_image(folder / path, size))
    if len(images) < BATCH:
        raise UserError(f"--input {folder}: {len(images)} photographs, at least {BATCH} are needed")
    return images


def measure(
    folder: pathlib.Path, images: list[np.ndarray], image_format: str, size: int, seconds: float
) -> list[float]:
    """The numbers of one line of the table."""
    encoded = [encode_crop(image, image_format) for image in images]
    records = [_record(number, image) for number, image in enumerate(encoded)]
    path = write_dataset(
        folder, f"speed_{image_format}", {"train": lambda: iter(records)},
        image_format=image_format, size=size, preparation={},
    )  # fmt: skip
    shards = sum(file.stat().st_size for file in path.glob("*.array_record*"))
    dataset = PreparedDataset(path, "train")
    order = np.random.default_rng(0).permutation(len(images))
    numbers = [np.mean([len(image) for image in encoded]), shards / len(images)]
    numbers.append(_loads_per_core(dataset, order, size, seconds))
    numbers.append(_batched(dataset, size, 0, seconds, time.process_time))
    numbers += [_batched(dataset, size, n, seconds, time.perf_counter) for n in WORKERS]
    return [float(number) for number in numbers]


def _loads_per_core(
    dataset: PreparedDataset, order: np.ndarray, size: int, seconds: float
) -> float:
    """Of the fastest of several passes over all images."""
    rates = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rates) < 3:
        start = time.process_time()
        for index in order:
            dataset.load(int(index), size)
        rates.append(len(order) / (time.process_time() - start))
    return max(rates)


def _batched(
    dataset: PreparedDataset,
    size: int,
    workers: int,
    seconds: float,
    clock: Callable[[], float],
) -> float:
    """Images in batches by the clock, once the processes have started and the buffers are full."""
    batches = train_batches(
        dataset, size=size, batch_size=BATCH, seed=0, start_step=0, num_steps=10**6,
        balanced=False, workers=workers,
    )  # fmt: skip
    with contextlib.closing(batches):
        for _ in range(20):
            next(batches)
        count, start, end = 0, clock(), time.perf_counter() + seconds
        while time.perf_counter() < end:
            next(batches)
            count += BATCH
        return count / (clock() - start)


def _record(number: int, image: bytes) -> FaceRecord:
    name = f"real/{number:06d}"
    return FaceRecord(
        id=f"{name}/000000", image=image, label=0, dataset="photographs", method="real", video=name,
        frame=0, source=name, group="", person="", box=np.zeros(4, np.float32),
        landmarks=np.zeros((5, 2), np.float32), score=1.0,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_program(main))
