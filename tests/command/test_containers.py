"""The steps of both Dockerfiles, in a folder and a new environment in place of an image.

No container engine is needed. What only an engine does (the base image, users, mounts) is not seen.
"""

import json
import pathlib
import re
import shutil

import pytest
import skimage

from tests.command.environments import Environment

ROOT = pathlib.Path(__file__).parents[2]
CUDA_PACKAGES = "pip install --no-cache-dir -r requirements.txt"


class Image:
    """A folder that stands for the root of an image, and an environment for its Python."""

    def __init__(self, root: pathlib.Path):
        self.root = self.workdir = root / "image"
        self.root.mkdir()
        self.environment = Environment(root / "environment")
        self.command: list[str] = []

    def build(self, dockerfile: str, without: str = ""):
        """Follows the instructions, but for the `RUN` that says `without`."""
        for instruction, rest in instructions(dockerfile):
            if instruction == "WORKDIR":
                self.workdir = self.root / rest.lstrip("/")
                self.workdir.mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY":
                *sources, target = rest.split()
                for source in sources:
                    assert f"!{source}" in (ROOT / ".dockerignore").read_text().split(), source
                    self.copy(source, target)
            elif instruction == "RUN" and rest != without:
                self.run("sh", "-c", rest)
            elif instruction == "ENTRYPOINT":
                self.command = json.loads(rest)

    def copy(self, source: str, target: str):
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / source, self.workdir / target, ignore=ignored)
        else:
            shutil.copy(ROOT / source, self.workdir / target)

    def run(self, *command: str) -> str:
        return self.environment.run(*command, cwd=self.workdir)


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    lines = (ROOT / dockerfile).read_text().splitlines()
    assert not any(line.endswith("\\") for line in lines if not line.startswith("#"))
    return [
        (match[1], match[2]) for line in lines if (match := re.fullmatch(r"([A-Z]+) +(.+)", line))
    ]


@pytest.mark.slow
def test_the_image_for_a_cpu_scores_a_photograph(tmp_path):
    image = Image(tmp_path)
    image.build("Dockerfile.cpu")
    photograph = pathlib.Path(skimage.data_dir) / "astronaut.png"
    shutil.copy(photograph, image.workdir / "photo.png")
    image.run(*image.command, "predict", "photo.png", "--workdir=out")
    (scored,) = json.loads((image.workdir / "out/predictions.json").read_text())["files"]
    assert len(scored["faces"]) == 1
    assert "web" in image.run(*image.command, "--help")


@pytest.mark.slow
def test_the_image_for_gpus_has_the_whole_program(tmp_path):
    """All but the packages of CUDA, which are gigabytes: those of this environment stand in."""
    image = Image(tmp_path)
    image.environment.borrow_packages()
    assert ("RUN", CUDA_PACKAGES) in instructions("Dockerfile")
    image.build("Dockerfile", without=CUDA_PACKAGES)
    assert str(tmp_path) in image.run("python", "-c", "import rffr_jax; print(rffr_jax.__file__)")
    assert "--config" in image.run(*image.command, "--help")
    assert (image.workdir / "configs/pretrain.py").is_file()
    assert (image.workdir / "runs").stat().st_mode & 0o7777 == 0o1777
