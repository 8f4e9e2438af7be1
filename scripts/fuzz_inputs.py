"""Breaks what `predict` and `web` read, images, videos, JSON and requests, and sees what they say.

    python -m scripts.fuzz_inputs --files 2000 --seed 0 --output runs/fuzz

Every file is a small whole one whose bytes (of JSON sometimes its values) were changed, cut,
repeated or taken out, as its number and the seed say. Images and videos go through `find_files` and
`find_faces`, videos that can be read through `annotate_video`, `finished.jsonl` through the reader
of a resumed run, the files of a detector's folder through `load_detector`, and uploads through the
HTTP API over a real connection, in requests that may be broken too, with a small detector behind
it (fuzz_requests.py). A file is well treated if it is
used, or refused with a reason or a `UserError`. Child processes do the work: a native decoder that
crashes, or a file that takes longer than --limit, ends only one of them and is counted. What was
not well treated stays in the output folder. Exit codes: 0 all were; 1 some were not; 2 a mistake.
"""

import argparse
import collections
import contextlib
import dataclasses
import fractions
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from PIL import Image

from rffr_jax.cluster.command_line import run_program
from rffr_jax.errors import BadImageError, UserError
from scripts import fuzz_requests

SIZE = 32
IMAGES = (
    *("rgb.png", "grey16.png", "palette.png", "turned.jpg", "progressive.jpg"),
    *("lossy.webp", "lossless.webp", "plain.bmp", "lzw.tif", "moves.gif"),
)
VIDEOS = ("libx264.mp4", "libx264.mkv", "libx264.mov", "libx264.ts", "mpeg4.avi", "mpeg1video.mpg")
FINISHED = ("finished.jsonl",)
DETECTOR = (
    "training_sources.json",
    "mae_training_sources.json",
    "best.json",
    "operating_points/last.json",
    "residual_references/last.json",
    "checkpoints/latest/0/checksums.json",
    "checkpoints/latest/0/about/metadata",
    "checkpoints/latest/0/_CHECKPOINT_METADATA",
    "checkpoints/mae/0/checksums.json",
)
REQUESTS = ("rgb.png", "turned.jpg", "lossy.webp", "libx264.mp4")
KINDS = {
    "image": IMAGES,
    "video": VIDEOS,
    "finished": FINISHED,
    "detector": DETECTOR,
    "request": REQUESTS,
}
SHARES = {"image": 0.35, "video": 0.25, "finished": 0.15, "detector": 0.1, "request": 0.15}
START_LIMIT = 300.0  # seconds until a child is ready
ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF)
ODD_VALUES = (None, True, -1, 0, 1e308, float("nan"), 10**400, "", "x", [], {}, [None], "\ud800")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one broken file.

    Attributes:
      number: of the file.
      kind: of `KINDS`.
      what: `used`, the reason why not, or what went wrong.
      well: whether a user would have been told properly, in time.
      seconds: that it took.
    """

    number: int
    kind: str
    what: str
    well: bool
    seconds: float


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs", "fuzz"))
    parser.add_argument("--workers", type=int, default=2, help="child processes")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds that a file may take")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    args = parser.parse_args(argv)
    if min(args.files, args.workers) < 1 or args.seed < 0 or args.limit <= 0:
        parser.error("--files, --workers and --limit must be above 0, --seed not below it")
    begun = time.monotonic()
    make_whole_files(args.output / "whole", args.kinds)
    found = fuzz(args.output, args.files, args.seed, args.kinds, args.workers, args.limit)
    print("\n".join(told(found)))
    bad = sum(not outcome.well for outcome in found)
    took = time.monotonic() - begun
    print(f"\n{len(found)} files, seed {args.seed}, {took:.0f} s: {bad} were not well treated")
    return int(bad > 0)


def fuzz(
    folder: pathlib.Path,
    files: int,
    seed: int,
    kinds: Sequence[str],
    workers: int,
    limit: float,
) -> list[Outcome]:
    """Breaks `files` files and tries each, in `workers` child processes at a time."""
    shares = np.array([SHARES[kind] for kind in kinds])
    draws = np.random.default_rng(np.random.SeedSequence([seed])).random(files)
    which = np.searchsorted(np.cumsum(shares / shares.sum()), draws, side="right")
    tasks = [(number, kinds[min(int(k), len(kinds) - 1)]) for number, k in enumerate(which)]

    def of_worker(worker: int) -> list[Outcome]:
        with contextlib.closing(_Child(folder, seed, worker, limit)) as child:
            return [child.outcome(number, kind) for number, kind in tasks[worker::workers]]

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(of_worker, range(workers)))
    return sorted((outcome for part in parts for outcome in part), key=lambda o: o.number)


def told(found: Iterable[Outcome]) -> list[str]:
    """A Markdown table of the outcomes, and a line for each file that was not well treated."""
    found = list(found)
    counts = collections.Counter((o.kind, _general(o.what), o.well) for o in found)
    lines = ["| files | kind | outcome |", "|--:|---|---|"]
    for (kind, what, well), count in sorted(counts.items(), key=lambda i: (i[0][0], -i[1])):
        lines.append(f"| {count} | {kind} | {what if well else f'**{what}**'} |")
    slowest = max(found, key=lambda outcome: outcome.seconds)
    lines += ["", f"slowest: number {slowest.number}, {slowest.kind}, {slowest.seconds:.1f} s"]
    return lines + [f"number {o.number}, {o.kind}: {o.what}" for o in found if not o.well]


def _general(what: str) -> str:
    """An outcome without numbers, names and what a decoder said in its own words."""
    what = re.sub(r"\(.*|\S*/\S*", "...", what.splitlines()[0])
    return re.sub(r"0x[0-9a-f]+|\d+", "N", what)[:90].replace("|", "/")


# ---- one child process: a crash or a hang ends only this process


class _Child:
    def __init__(self, folder: pathlib.Path, seed: int, worker: int, limit: float):
        self._arguments, self._limit = (folder, seed, worker), limit
        self._start()

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, *self._arguments), daemon=True)
        self._process.start()
        other.close()
        if not self._pipe.poll(START_LIMIT) or self._pipe.recv() != "ready":
            raise RuntimeError("a child process did not start")

    def outcome(self, number: int, kind: str) -> Outcome:
        self._pipe.send((number, kind))
        begun = time.monotonic()
        try:
            if self._pipe.poll(self._limit):
                return self._pipe.recv()
            what = f"takes longer than {self._limit:g} s"
        except EOFError:
            self._process.join()
            what = f"the process crashed, exit code {self._process.exitcode}"
        seconds = time.monotonic() - begun
        self.close()
        self._start()
        return Outcome(number, kind, what, False, seconds)

    def close(self):
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _work(pipe: Connection, folder: pathlib.Path, seed: int, worker: int):
    room = folder / f"worker{worker}"
    shutil.rmtree(room, ignore_errors=True)
    shutil.copytree(folder / "whole", room)
    if (room / "detector").exists():
        _load(room / "detector")  # what takes long once
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # what decoders mutter
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            number, kind = pipe.recv()
            pipe.send(_tried(folder, room, seed, number, kind))


def _tried(folder: pathlib.Path, room: pathlib.Path, seed: int, number: int, kind: str) -> Outcome:
    rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
    name = KINDS[kind][rng.integers(len(KINDS[kind]))]
    place = f"detector/{name}" if kind == "detector" else name
    whole = (folder / "whole" / place).read_bytes()
    is_json = kind in ("finished", "detector")
    donor = whole if is_json else (folder / "whole" / KINDS[kind][0]).read_bytes()
    broken = mutated(whole, donor, rng, is_json=is_json)
    file = room / place
    file.write_bytes(broken)
    kept = folder / "bad" / f"{number}-{place.replace('/', '-')}"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(broken)  # taken away again if all is well, so that a crash leaves it
    begun = time.monotonic()
    try:
        what, well = _ENTRIES[kind](room, file), True
    except UserError as error:
        what, well = f"UserError: {error}", "\n" not in str(error)
    except BaseException:
        what, well = traceback.format_exc().strip().splitlines()[-1], False
        kept.with_suffix(".txt").write_text(traceback.format_exc(), errors="replace")
    seconds = time.monotonic() - begun
    file.write_bytes(whole)
    if well:
        kept.unlink()
    return Outcome(number, kind, what, well, seconds)


# ---- how a file is broken


def mutated(whole: bytes, donor: bytes, rng: np.random.Generator, *, is_json: bool) -> bytes:
    """The bytes of a file with one to eight faults.

    Args:
      donor: of a file of the same kind, whose bytes may replace some.
      is_json: whether its values may be changed, too.
    """
    if is_json and rng.random() < 0.6:
        return _other_values(whole, rng)
    data = bytearray(whole)
    for _ in range(rng.integers(1, 9)):
        if not data:
            break
        at = int(rng.integers(len(data)) * rng.choice([1.0, 0.1]))  # headers are worth more
        length = int(rng.integers(1, 65))
        match rng.integers(8):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.choice(ODD_NUMBERS))
            case 2:
                data[at : at + length] = rng.bytes(length)
            case 3:
                data[at:at] = rng.bytes(length)
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + length]
            case 6:
                four = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF]))
                data[at : at + 4] = four.to_bytes(4, "big" if rng.random() < 0.5 else "little")
            case 7:
                start = int(rng.integers(len(donor)))
                data[at : at + length] = donor[start : start + length]
    if rng.random() < 0.15:
        del data[int(rng.integers(len(data) + 1)) :]
    return bytes(data)


def _other_values(whole: bytes, rng: np.random.Generator) -> bytes:
    """JSON, or JSON lines, in which one value is another one or is missing."""
    lines = whole.decode().splitlines()
    if lines[0] == "{" or len(lines) == 1:  # one object
        lines = ["".join(lines)]
    number = int(rng.integers(len(lines)))
    start = lines[number].find("{")
    if rng.random() < 0.05:
        lines[number] = "[" * 100_000
    elif start >= 0:
        value = json.loads(lines[number][start:])
        lines[number] = lines[number][:start] + json.dumps(_changed(value, rng))
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


def _changed(value: Any, rng: np.random.Generator) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return ODD_VALUES[rng.integers(len(ODD_VALUES))]
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    place = places[rng.integers(len(places))]
    if rng.random() < 0.15:
        del value[place]
    else:
        value[place] = _changed(value[place], rng)
    return value


# ---- what reads it


def _look(room: pathlib.Path, file: pathlib.Path) -> str:
    from rffr_jax.predict.annotated_video import annotate_video
    from rffr_jax.predict.face_finding import find_faces
    from rffr_jax.predict.face_settings import GIVEN, FaceSettings
    from rffr_jax.predict.inputs import VIDEO, find_files
    from rffr_jax.predict.records import face_record, file_record

    settings = FaceSettings(faces=GIVEN, darkest=0.0, least_sharpness=0.0, frames=4)
    (found,) = [find_faces(one, settings, SIZE) for one in find_files([os.fspath(file)])]
    faces = []
    for sightings in found.faces:
        assert all(s.usable and s.crop.shape == (SIZE, SIZE, 3) for s in sightings)
        scores = np.full(len(sightings), 0.25)
        faces.append(face_record(sightings, scores, 0.5, "mean", 1))
    record = file_record(found, faces, None)
    json.dumps(record, allow_nan=False)
    assert bool(record["reason"]) == (not faces)
    if record["score"] is not None and record["source"]["kind"] == VIDEO:
        try:
            annotate_video(room / "a.mp4", file, record, 0.5, how="mean", top_k=1, band="Score.")
        except BadImageError as error:  # `FileScorer` logs it and continues
            return f"used, not written again: {error.reason}"
    return record["reason"] or "used"


def _go_on(room: pathlib.Path, file: pathlib.Path) -> str:
    from rffr_jax.predict.finished_files import FinishedFiles
    from rffr_jax.predict.predictions_file import write_predictions

    paths = [room.parent / "whole" / name for name in IMAGES]
    finished = FinishedFiles(room, {"threshold": 0.5})
    known = sum(path in finished for path in paths)
    for path in paths:
        if path not in finished:
            finished.add(path, _record(path))
    about = {"note": ""}
    write_predictions(room / "out", about, finished.records(paths))
    written = json.loads((room / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert written["files"] == [_record(path) for path in paths]
    return f"used, {known} of {len(paths)} records kept"


def _load(folder: pathlib.Path) -> Any:
    from rffr_jax.predict.detector import load_detector

    return load_detector(folder)


def _load_and_score(room: pathlib.Path, file: pathlib.Path) -> str:
    detector = _load(room / "detector")
    assert 0 <= detector.threshold <= 1
    return "used"


def _ask(room: pathlib.Path, file: pathlib.Path) -> str:
    def broken(part: bytes, rng: np.random.Generator) -> bytes:
        return mutated(part, part, rng, is_json=False)

    return fuzz_requests.asked(room, file, broken)


_ENTRIES = {
    "image": _look,
    "video": _look,
    "finished": _go_on,
    "detector": _load_and_score,
    "request": _ask,
}


# ---- the whole files


def make_whole_files(folder: pathlib.Path, kinds: Sequence[str]):
    """Writes the files that are broken, of a detector those that it needs and may have besides."""
    from rffr_jax.method.residual_cache import parameters_digest
    from rffr_jax.models.sizes import ModelSettings
    from rffr_jax.predict.finished_files import FinishedFiles
    from scripts.untrained_detector import save_untrained_detector

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "rgb.png")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(
        folder / "grey16.png"
    )
    image.convert("P").save(folder / "palette.png", transparency=0)
    image.save(folder / "turned.jpg", exif=exif)
    image.save(folder / "progressive.jpg", progressive=True)
    image.save(folder / "lossy.webp")
    image.save(folder / "lossless.webp", lossless=True)
    image.save(folder / "plain.bmp")
    image.save(folder / "lzw.tif", compression="tiff_lzw")
    image.save(folder / "moves.gif", save_all=True, append_images=[image.rotate(90)])
    frames = [np.roll(np.asarray(image), 2 * n, axis=1) for n in range(12)]
    for name in VIDEOS:
        _write_video(folder / name, name.partition(".")[0], frames)

    finished = FinishedFiles(folder, {"threshold": 0.5})
    for name in IMAGES:
        finished.add(folder / name, _record(folder / name))
    if not {"detector", "request"} & set(kinds):
        return
    detector = folder / "detector"
    parameters = save_untrained_detector(detector, ModelSettings("tiny", SIZE, 8), k=2)
    _write_beside(detector, parameters_digest(parameters))


def _write_video(path: pathlib.Path, codec: str, frames: Sequence[np.ndarray]):
    import av
    from av.video.stream import VideoStream

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fractions.Fraction(25))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, _ = frames[0].shape
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 4
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _record(path: pathlib.Path) -> dict[str, Any]:
    return {
        "path": path.name,
        "sha256": None,
        "status": "unknown",
        "score": None,
        "probability": None,
        "threshold": None,
        "reason": "no face",
        "source": None,
        "faces_left_out": 0,
        "faces": [],
    }


def _write_beside(detector: pathlib.Path, digest: str):
    """The records that trainings and evaluations leave in a detector's folder."""
    from rffr_jax.data.origins import Origins
    from rffr_jax.evaluation import operating_point, operating_point_record, residual_reference
    from rffr_jax.evaluation.aggregate import VideoScore
    from rffr_jax.evaluation.calibration import Platt
    from rffr_jax.evaluation.threshold import Threshold
    from rffr_jax.runs.atomic_files import write_json
    from rffr_jax.runs.weight_records import write_record

    origins = Origins(frozenset({("faces", "a"), ("faces", "b")}), frozenset({"/data/a.png"}))
    write_json(detector / "training_sources.json", origins.to_json())
    write_json(detector / "mae_training_sources.json", origins.to_json())
    best = {"auc": 0.5, "step": 1, "datasets": ["faces"], "methods": ["rows"]}
    write_json(detector / "best.json", {"faces": best})
    of_images = Threshold(0.4, 0.01, 3, 3, 0.8, None, Platt(1.5, 0.1))
    of_videos = Threshold(0.3, 0.01, 2, 2, 0.8, VideoScore("mean", 0, 32), Platt(1.5, 0.1))
    point = operating_point.OperatingPoint(of_images, of_videos, ("x",), origins)
    operating_point_record.write_operating_point(detector, "last", point, digest)
    k = _load(detector).blocks.k
    reference = residual_reference.ResidualReference(
        np.full((k, k), 0.2), np.full((k, k), 0.3), 30, 0.5, ("x",)
    )
    write_record(detector, residual_reference.RECORD, "last", digest, reference.to_json())
    loaded = _load(detector)
    assert loaded.operating_point == point
    assert loaded.reference is not None


if __name__ == "__main__":
    sys.exit(run_program(main))
