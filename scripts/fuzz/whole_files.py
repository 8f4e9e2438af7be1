"""The whole files that are broken: images, videos, records, and folders of a detector."""

import fractions
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

from rffr_jax.data.origins import Origins
from rffr_jax.evaluation import operating_point, residual_reference
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.evaluation.calibration import Platt
from rffr_jax.evaluation.threshold import Threshold
from rffr_jax.faces.frame_folder import file_stamp
from rffr_jax.method.array_cache import parameters_digest
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.predict.detector import load_detector
from rffr_jax.predict.finished_files import FinishedFiles
from rffr_jax.runs.atomic_files import write_json
from rffr_jax.runs.weight_records import write_record
from scripts.fuzz.kinds import IMAGES, SIZE, VIDEOS
from scripts.untrained_detector import save_untrained_detector


def make_whole_files(folder: pathlib.Path, kinds: Sequence[str]):
    """Writes them; of a detector the files that it needs and those that it may have."""

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
        path = folder / name
        finished.add(path, unjudged_record(path), file_stamp(path))
    if not {"detector", "model", "request"} & set(kinds):
        return
    detector = folder / "detector"
    parameters = save_untrained_detector(detector, ModelSettings("tiny", SIZE, 8), k=2)
    _write_records(detector, parameters_digest(parameters))
    load_detector(detector).save_pretrained(folder / "model")


def _write_video(path: pathlib.Path, codec: str, frames: Sequence[np.ndarray]):

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


def unjudged_record(path: pathlib.Path) -> dict[str, Any]:
    """An entry of predictions.json for a file without faces."""
    return {
        "path": path.name,
        "sha256": None,
        "examined": "2026-01-01T00:00:00+00:00",
        "status": "unknown",
        "score": None,
        "probability": None,
        "threshold": None,
        "reason": "no face",
        "source": None,
        "faces_left_out": 0,
        "faces": [],
    }


def _write_records(detector: pathlib.Path, digest: str):
    """The records that trainings and evaluations leave in a detector's folder."""

    origins = Origins(frozenset({("faces", "a"), ("faces", "b")}), frozenset({"/data/a.png"}))
    write_json(detector / "training_sources.json", origins.to_json())
    write_json(detector / "mae_training_sources.json", origins.to_json())
    best = {"auc": 0.5, "step": 1, "datasets": ["faces"], "methods": ["rows"]}
    write_json(detector / "best.json", {"faces": best})
    of_images = Threshold(0.4, 0.01, 3, 3, 0.8, None, Platt(1.5, 0.1))
    of_videos = Threshold(0.3, 0.01, 2, 2, 0.8, VideoScore("mean", 0, 32), Platt(1.5, 0.1))
    point = operating_point.OperatingPoint(of_images, of_videos, ("x",), origins)
    operating_point.write_operating_point(detector, "last", point, digest)
    k = load_detector(detector).blocks.k
    reference = residual_reference.ResidualReference(
        np.full((k, k), 0.2), np.full((k, k), 0.3), 30, 0.5, ("x",)
    )
    write_record(detector, residual_reference.RECORD, "last", digest, reference.to_json())
    loaded = load_detector(detector)
    assert loaded.operating_point == point
    assert loaded.reference is not None
