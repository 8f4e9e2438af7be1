"""How fast the job `predict` is, where its time goes, and whether its memory stays flat.

    python -m scripts.predict_throughput --output runs/predict_throughput --images 10000

Writes small photographs of procedural faces and a video of one, and runs the job on them: files/s,
seconds per minute of video, and the resident memory of the process all the while (Linux). Then the
stages are timed one after another, in one thread, on some of the images: reading, finding faces (or
resizing, with --faces given), residuals, classifier, evidence pictures. Without --detector one with
random weights is made, of --size. Prints Markdown. Exit codes: 0 done; 2 a mistake.
"""

import argparse
import contextlib
import fractions
import io
import os
import pathlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from rffr_jax.cluster.command_line import run_program
from rffr_jax.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHOTOGRAPH, DIFFERENT = 128, 64  # side in pixels; pictures that are not copies
FRAME = (360, 640)
FPS = 25
WARM_UP = 0.2  # of the run's time, before memory is compared


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a folder, made anew")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=1.0, help="of video; 0 leaves it out")
    parser.add_argument("--detector", help="workdir; random weights by default")
    parser.add_argument("--size", default="vit_ti16", help="of the random weights' model")
    parser.add_argument("--image-size", type=int, default=224, help="that it reads, pixels")
    parser.add_argument("--faces", choices=("find", "given"), default="find")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--staged", type=int, default=64, help="images whose stages are timed")
    args = parser.parse_args(argv)
    try:
        for line in report(args):
            print(line, flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(args: argparse.Namespace) -> Iterator[str]:
    """Lines of Markdown, each when it is known.

    Raises:
      UserError: numbers that are not possible, or a detector that is none.
    """
    if args.images < 1 or args.minutes < 0 or args.staged < 1:
        raise UserError("--images and --staged must be at least 1, --minutes not negative")
    folder: pathlib.Path = args.output
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"--output {folder} is not empty; name a new folder")
    detector = pathlib.Path(args.detector) if args.detector else folder / "detector"
    if not args.detector:
        _untrained(detector, args.size, args.image_size)
    photographs = make_photographs(folder / "photographs", args.images)
    some = folder / "some"
    some.mkdir()
    for path in photographs[: args.batch_size]:
        shutil.copy(path, some)

    def job(inputs: pathlib.Path, name: str) -> float:
        begun = time.perf_counter()
        _predict(detector, inputs, folder / name, args.faces, args.batch_size)
        return time.perf_counter() - begun

    job(some, "out_warm_up")  # compiles
    with Memory() as memory:
        seconds = job(folder / "photographs", "out_photographs")
    yield "| what | measured |"
    yield "|---|---|"
    yield f"| photographs of {PHOTOGRAPH} px | {args.images / seconds:.2f} files/s |"
    first, last = memory.levels(WARM_UP)
    growth = f"{100 * (last / first - 1):+.1f} %"
    yield f"| resident memory, peak | {memory.peak / 2**20:.0f} MiB |"
    yield (
        f"| growth over {args.images} images | {growth} (from {first / 2**20:.0f} MiB after "
        f"{WARM_UP:.0%} of the time to {last / 2**20:.0f} MiB at the end) |"
    )
    if args.minutes:
        video = make_video(folder / "video.mp4", round(args.minutes * 60 * FPS))
        job(video, "out_video_warm_up")
        spent = job(video, "out_video") / args.minutes
        yield f"| video, {FRAME[1]} x {FRAME[0]}, {FPS} frames/s | {spent:.2f} s a minute |"
    stages = timed_stages(detector, photographs[: args.staged], args.faces, args.batch_size)
    whole = sum(stages.values())
    for name, spent in stages.items():
        each = 1000 * spent / min(args.staged, args.images)
        yield f"| {name} | {100 * spent / whole:.1f} %, {each:.2f} ms a photograph |"


class Memory:
    """Resident memory of this process, looked at ten times a second while the block runs.

    Attributes:
      peak: in bytes.
    """

    def __init__(self):
        self._seen: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    @property
    def peak(self) -> int:
        return max(self._seen)

    def levels(self, share: float) -> tuple[float, float]:
        """Medians over a tenth of the time: after a first share of it, and at the end."""
        tenth = max(1, len(self._seen) // 10)
        first = int(share * len(self._seen))
        early, late = self._seen[first : first + tenth], self._seen[-tenth:]
        return float(np.median(early)), float(np.median(late))

    def _look(self):
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            words = pathlib.Path("/proc/self/statm").read_text().split()
            self._seen.append(int(words[1]) * page)
            if self._over.wait(0.1):
                return


def timed_stages(
    detector: pathlib.Path, paths: list[pathlib.Path], faces: str, batch_size: int
) -> dict[str, float]:
    """Seconds of each stage for some photographs, in one thread, each stage after another."""
    from ml_collections import ConfigDict

    from rffr_jax.cluster.sharding import make_mesh
    from rffr_jax.evaluation.trained_detector import TrainedDetector
    from rffr_jax.faces.crop import crop_face
    from rffr_jax.faces.detectors import load_detector as load_face_detector
    from rffr_jax.images.decode import read_full_image, resize_to_square
    from rffr_jax.images.image_formats import decode_crop, encode_crop
    from rffr_jax.method.array_cache import image_digests
    from rffr_jax.predict.detector import load_detector
    from rffr_jax.predict.face_settings import face_settings
    from rffr_jax.predict.file_scorer import FAST
    from rffr_jax.reports.contact_sheet import write_png

    loaded = load_detector(detector, batch_size=batch_size)
    config = ConfigDict(
        {
            "dtype": "auto",
            "batch_size": batch_size,
            "data": {"workers": 0, "max_bad_fraction": 1.0},
            "residuals": {"folder": "", "memory_gb": 0.0},
        }
    )
    trained = TrainedDetector(detector, make_mesh(), config)
    parameters, size = trained.parameters("last"), loaded.image_size
    settings = face_settings(loaded.about["preparations"], size, faces=faces)

    def crops_of(image: np.ndarray) -> list[np.ndarray]:
        if faces == "given":
            return [resize_to_square(image, size)]
        found = load_face_detector(settings.detector, settings.weights).detect(image)
        data = [encode_crop(crop_face(image, face, settings.crop).image, "jpeg") for face in found]
        return [decode_crop(one, "jpeg", size, "") for one in data]

    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - begun
        return result

    crops_of(read_full_image(paths[0]))
    images = timed("reading", lambda: [read_full_image(path) for path in paths])
    found = timed("finding faces", lambda: [crop for image in images for crop in crops_of(image)])
    if not found:
        raise UserError("no face was found in the photographs; use --faces given")
    crops = np.stack(found)
    scorer = trained.scorer

    def residuals():
        for first in range(0, len(crops), batch_size):
            part = crops[first : first + batch_size]
            scorer.kept.of(part, image_digests(part))

    def draw():
        for shown in loaded.explain_crops(crops, scores, differences):
            write_png(detector.parent / "evidence.png", shown.picture(), FAST)

    scores, differences = scorer.score_images(parameters, crops)  # compiles
    loaded.explain_crops(crops, scores, differences)
    reads_mae = trained.detection.settings.needs_mae
    if reads_mae:
        residuals()
        timed("residuals", residuals)
    timed("classifier", lambda: scorer.score_images(parameters, crops))
    seconds["classifier"] -= seconds.get("residuals", 0.0)  # score_images computes them, too
    timed("evidence pictures", draw)
    return {name: max(0.0, spent) for name, spent in seconds.items()}


def make_photographs(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """JPEG files of `DIFFERENT` procedural faces, one after another."""
    from rffr_jax.synthetic.dataset import SyntheticDataset

    folder.mkdir(parents=True)
    drawn, data = SyntheticDataset(0, "test"), []
    for person in range(min(count, DIFFERENT)):
        stream = io.BytesIO()
        Image.fromarray(drawn.load(person, PHOTOGRAPH)).save(stream, "JPEG", quality=90)
        data.append(stream.getvalue())
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(data[number % len(data)])
    return paths


def make_video(path: pathlib.Path, frames: int) -> pathlib.Path:
    """A procedural face that moves to and fro before grey."""
    import av
    from av.video.stream import VideoStream

    from rffr_jax.synthetic.dataset import SyntheticDataset

    height, width = FRAME
    face = SyntheticDataset(0, "test").load(0, PHOTOGRAPH)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fractions.Fraction(FPS))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(frames):
            picture = np.full((height, width, 3), 128, np.uint8)
            left = round((width - PHOTOGRAPH) * (0.5 + 0.4 * np.sin(number / FPS)))
            top = (height - PHOTOGRAPH) // 2
            picture[top : top + PHOTOGRAPH, left : left + PHOTOGRAPH] = face
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _untrained(folder: pathlib.Path, size: str, image_size: int):
    from rffr_jax.models.sizes import ModelSettings
    from scripts.untrained_detector import save_untrained_detector

    save_untrained_detector(folder, ModelSettings(size, image_size, image_size // 14), k=4)


def _predict(
    detector: pathlib.Path,
    inputs: pathlib.Path,
    workdir: pathlib.Path,
    faces: str,
    batch_size: int,
):
    """The job, in this process.

    Raises:
      UserError: it refused; its line is on stderr.
    """
    from rffr_jax.main import run

    flags = {
        "detector": detector,
        "inputs": inputs,
        "faces": faces,
        "batch_size": batch_size,
        "darkest": 0,
        "least_sharpness": 0,
    }
    argv = ["rffr_jax", f"--config={ROOT / 'configs' / 'predict.py'}", f"--workdir={workdir}"]
    argv += [f"--config.{name}={value}" for name, value in flags.items()]
    with contextlib.redirect_stdout(io.StringIO()):
        code = run(argv)
    if code:
        raise UserError(f"the job predict ended with code {code}")


if __name__ == "__main__":
    sys.exit(run_program(main))
