"""The wheels are built, installed in a new environment, and used in an empty folder by README."""

import json
import pathlib
import re
import shutil
import sys

import pytest
import skimage
from PIL import Image

from tests.command.environments import Environment
from tests.web.browsers import NEEDS_CHROMIUM, cards_of, chromium, complaints
from tests.web.servers import served

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
LARGEST_WHEEL = 2 * 2**20  # bytes
PROGRAM = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "rffr_jax", "configs")
SCORE = """
import sys, rffr_jax
from PIL import Image
print(rffr_jax.load_detector(dtype="float32").score([Image.open("face.png").convert("RGB")])[0])
"""


def python_lines(page: str) -> list[str]:
    """The Python programs of a page."""
    return re.findall(r"(?ms)^```python\n(.*?)^```", (ROOT / page).read_text())


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with both wheels; what they need is read from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("wheels")
    environment = Environment(folder / "new")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in PROGRAM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "program" / name, ignore=ignored)
        else:
            (folder / "program").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "program")
    shutil.copytree(ROOT / "pretrained", folder / "pretrained", ignore=ignored)
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist")
    environment.run(*build, folder / "program", cwd=folder)
    environment.run(*build, "--wheel", folder / "pretrained", cwd=folder)
    assert len(list(folder.glob("dist/*.tar.gz"))) == 1
    wheels = list(folder.glob("dist/*.whl"))
    assert len(wheels) == 2
    (program,) = folder.glob("dist/rffr_jax-*.whl")
    assert program.stat().st_size < LARGEST_WHEEL
    environment.borrow_packages()
    environment.run("pip", "install", "--no-deps", "--no-index", *wheels, cwd=folder)
    return environment


@pytest.fixture
def empty(tmp_path):
    """A folder with a photograph and nothing else."""
    picture = Image.open(pathlib.Path(skimage.data_dir) / "astronaut.png")
    picture.save(tmp_path / "photo.jpg", quality=95)
    return tmp_path


def test_the_wheel_has_the_whole_program(installed, empty):
    assert "paper/table9" in installed.run("rffr-jax", "--help", cwd=empty)
    assert "# Or original, residual." in installed.run("rffr-jax", "detect", "--help", cwd=empty)
    found = installed.run("rffr-jax", "doctor", cwd=empty)
    assert "a residual image was computed" in found
    where = installed.run("python", "-c", "import rffr_jax; print(rffr_jax.__file__)", cwd=empty)
    assert where.startswith(str(installed.packages()))
    installed.run("rffr-jax", "paper/fig3:smoke", cwd=empty)
    assert (empty / "runs/paper/fig3-smoke/report.html").is_file()


def test_a_photograph_is_scored_by_the_command_and_in_python(installed, empty):
    installed.run("rffr-jax", "predict", "photo.jpg", "--workdir=OUT", cwd=empty)
    (file,) = json.loads((empty / "OUT/predictions.json").read_text())["files"]
    (face,) = file["faces"]
    assert (empty / "OUT" / face["evidence"]).is_file()
    (lines,) = python_lines("README.md")
    said = installed.run("python", "-c", lines, cwd=empty)
    assert said.startswith(f"{file['status']} {file['score']:.3f} ")
    assert (empty / "evidence0.png").is_file()


def test_the_installed_detector_becomes_a_program_for_jax_alone(installed, empty):
    assert "detector-stablehlo" in installed.run(
        "rffr-jax", "export", "--to", "stablehlo", cwd=empty
    )
    Image.open(empty / "photo.jpg").crop((140, 30, 310, 200)).save(empty / "face.png")
    lines = python_lines("docs/export.md")[0].replace("detect-stablehlo", "detector-stablehlo")
    alone = f"import sys\nsys.modules['rffr_jax'] = None\n{lines}"
    score, _ = installed.run("python", "-c", alone, cwd=empty).split()
    expected = float(installed.run("python", "-c", SCORE, cwd=empty))
    assert float(score) == pytest.approx(expected, abs=1e-4)


@NEEDS_CHROMIUM
def test_the_page_scores_a_photograph(installed, empty):
    start = (str(installed.bin / "rffr-jax"), "web")
    with (
        served(empty / "run", start=start, cwd=empty) as server,
        chromium(1100, empty) as browser,
    ):
        (card,) = cards_of(browser, server, empty / "photo.jpg")
        assert "Score " in card.text
        assert len(card.find_elements("css selector", ".whole a")) == 1
        assert not complaints(browser)
        assert server.end() == 0
