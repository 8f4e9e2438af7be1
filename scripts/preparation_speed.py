"""How fast faces are prepared, beside a plain OpenCV loop with the same detector.

    python scripts/preparation_speed.py --input VIDEO [VIDEO ...] [--frames 32] [--repeats 5]

Both take the same frames of each video, find the faces, cut one out and encode it as JPEG, in one
process with one thread; OpenCV decodes in one thread too. Settings are the defaults of
`prepare_faces.py`. Take videos that show one face: of several the loop cuts out only the best one,
whereas each of them is cut out here until it is known which is followed. In turn, so that whatever
else the machine does meets both. Prints processor seconds per video (medians) and what they make
per core.
"""

import argparse
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np

from rffr_jax.cluster.command_line import run_program
from rffr_jax.errors import UserError
from rffr_jax.faces.crop import CropSettings
from rffr_jax.faces.detectors import load_detector
from rffr_jax.faces.frames import count_frames, evenly_spaced
from rffr_jax.faces.media import Medium
from rffr_jax.faces.prepare import PreparationSettings, prepare_medium
from rffr_jax.images.alignment import TEMPLATE, estimate_similarity

SIZE = 224


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", required=True, nargs="+", type=pathlib.Path, metavar="VIDEO")
    parser.add_argument("--frames", type=int, default=32, help="of each video")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(argv)
    try:
        _measure(args.input, args.frames, args.repeats)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _measure(videos: list[pathlib.Path], frames: int, repeats: int):
    cv2.setNumThreads(1)
    settings = PreparationSettings(
        detector="retinaface",
        weights=None,
        crop=CropSettings(),
        smallest_face=30,
        image_format="jpeg",
        frames={"train": frames, "validation": frames, "test": frames},
    )
    ways: dict[str, Callable[[pathlib.Path], int]] = {
        "rffr_jax": lambda video: len(prepare_medium(_medium(video), None, settings).records),
        "OpenCV loop": lambda video: _opencv_loop(video, frames),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    faces = dict.fromkeys(ways, 0)
    for repeat in range(repeats + 1):
        for name, prepare in ways.items():
            start = time.process_time()
            faces[name] = sum(map(prepare, videos))
            if repeat:  # the first is for loading and warming up
                seconds[name].append((time.process_time() - start) / len(videos))
    print(f"{len(videos)} videos, {frames} frames each, {repeats} repeats, processor time")
    print(f"{'':12} {'s/video':>9} {'videos/s':>9} {'faces/s':>9}   per core")
    for name, times in seconds.items():
        median = statistics.median(times)
        per_second = faces[name] / len(videos) / median
        print(f"{name:12} {median:9.3f} {1 / median:9.2f} {per_second:9.1f}")


def _medium(video: pathlib.Path) -> Medium:
    return Medium(video.name, video, "train", 0, "speed", "real", video.name)


def _opencv_loop(video: pathlib.Path, count: int) -> int:
    """What a script of an afternoon does: read on, detect on the wanted frames, warp, encode."""
    detector = load_detector("retinaface", None)
    wanted = set(evenly_spaced(count_frames(video), count))
    target = (np.array(TEMPLATE) * SIZE - 0.5).astype(np.float32)
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    found = 0
    for index in range(max(wanted) + 1):
        if not capture.grab():
            break
        if index not in wanted:
            continue
        image = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        for face in detector.detect(image)[:1]:
            crop = cv2.warpAffine(image, estimate_similarity(face.landmarks, target), (SIZE, SIZE))
            cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            found += 1
    capture.release()
    return found


if __name__ == "__main__":
    sys.exit(run_program(main))
