"""The documentation as a site: its navigation, its generated pages, and the strict build."""

import html
import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import pytest

from scripts.docs_site import api_pages, navigation, notebook_pages, reference_pages
from tests.test_repository import ROOT

OPTIONS = re.search(r"\$\(BIN\)/python -m sphinx (.*)", (ROOT / "Makefile").read_text())


def test_the_settings_load_and_every_page_is_in_the_navigation():
    settings = runpy.run_path(str(ROOT / "docs/conf.py"))
    front = navigation.complete(settings["root_doc"], "# rffr_jax\n")
    linked = re.findall(r"(?m)^/(.+)$", front)
    written = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for pattern in ("*.md", "docs/*.md", "pretrained/**/*.md")
        for path in ROOT.glob(pattern)
    }
    notebooks = {path.stem for path in notebook_pages.NOTEBOOKS.glob("*.py")}
    generated = {f"notebooks/{name}" for name in notebooks}
    generated |= {"commands", "configs/index", "api/index"}
    assert len(notebooks) == 2
    assert len(linked) == len(set(linked))
    assert set(linked) == written - {"README"} | {f"docs/generated/{name}" for name in generated}
    excluded = settings["exclude_patterns"]
    assert "rffr_jax" in excluded
    assert not {"docs", "pretrained", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"} & {*excluded}


def test_groups_are_those_of_the_table():
    table = """
| page | content |
| --- | --- |
| **First** | |
| [a.md](a.md) | one, see [b](b.md) |
| [n](notebooks/n.py) | two |
| **Second** | |
| [b.md](b.md) | three |
"""
    assert navigation.groups(table) == {
        "First": ("docs/a", "docs/generated/notebooks/n"),
        "Second": ("docs/b",),
    }


def test_a_config_has_its_own_comments_and_those_of_the_config_that_it_changes():
    page = reference_pages.config_page("recipes/detect")
    assert "| `optimizer.learning_rate` | `0.0005`  |" in page
    assert "| `blocks.blocks_per_pass` | `4` A quarter of the passes, for a CPU. |" in page
    assert "| `detector.inputs` | `'both'` Or original, residual. |" in page
    table = reference_pages.config_page("paper/table5")
    assert "| `detect.detector.inputs` | `'both'` Or original, residual. |" in table


def test_cells_are_text_or_code():
    source = '"""Head."""\n# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 1\n\n# %% named\nx\n'
    assert notebook_pages.cells(source) == [
        (True, "# Title\n\nText."),
        (False, "x = 1"),
        (False, "x"),
    ]


def test_a_notebook_page_has_what_the_code_prints_and_draws(tmp_path):
    notebook = tmp_path / "small.py"
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint(6 * 7)\n"
    notebook.write_text(f"# %% [markdown]\n# # Small\n# %%\n{draw}# %%\nprint(len([1]))\n")
    page = notebook_pages.page(notebook, tmp_path)
    assert page.startswith("# Small\n")
    assert "```text\n42\n```\n\n![" in page
    assert "```text\n1\n```" in page
    assert (tmp_path / "small_1.png").stat().st_size > 1000
    notebook.write_text("# %%\nraise ValueError('no')\n")
    with pytest.raises(ValueError, match="no"):
        notebook_pages.page(notebook, tmp_path)


def test_notebooks_hold_no_output():
    for path in notebook_pages.NOTEBOOKS.iterdir():
        assert path.suffix == ".py", path
        assert "base64" not in path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> pathlib.Path:
    """The site as `make docs` builds it, in another folder."""
    assert OPTIONS
    folder = tmp_path_factory.mktemp("site")
    *options, _, _, source, _ = shlex.split(OPTIONS[1].replace("--doctree-dir build/doctrees ", ""))
    assert "--fail-on-warning" in options
    command = [sys.executable, "-m", "sphinx", *options, "--conf-dir", "docs"]
    command += ["--doctree-dir", str(folder / "doctrees"), source, str(folder / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-5000:]
    return folder / "html"


def text_of(page: pathlib.Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_strict_build_has_every_page(site):
    front = (site / "README.html").read_text(encoding="utf-8")
    assert "url=README.html" in (site / "index.html").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/*.md"):
        assert f'href="docs/{page.stem}.html"' in front, page.name
    evidence = (site / "docs/predict.html").read_text(encoding="utf-8")
    assert 'href="../pretrained/rffr_jax_pretrained/detector/README.html"' in evidence
    assert 'href="#crops"' in evidence
    for page, _, modules in api_pages.PAGES:
        api = (site / f"docs/generated/api/{page}.html").read_text(encoding="utf-8")
        assert all(f'id="module-{name}"' in api for name in modules), page


@pytest.mark.slow
def test_the_reference_comes_from_the_program(site):
    folder = site / "docs/generated"
    method = re.sub(r"\s", "", text_of(folder / "api/method.html"))
    assert "residual_image(mae:MAE,blocks:BlockGrid,images:Float[Array,'batchsizesize3']" in method
    scoring = text_of(folder / "api/scoring.html")
    assert all(f"{name}(" in scoring for name in ("load_detector", "find_faces", "explain"))
    commands = text_of(folder / "commands.html")
    assert "usage: rffr-jax export-model" in commands
    assert "--workdir: Folder of the run" in commands
    config = text_of(folder / "configs/pretrain.html")
    assert "optimizer.ema_decay" in config
    assert "0.999, for example, evaluates and saves averaged weights." in config


@pytest.mark.slow
def test_the_notebooks_ran(site):
    folder = site / "docs/generated/notebooks"
    residual = text_of(folder / "what_a_residual_is.html")
    found = re.findall(r"(real|manipulated) +inside the mask ([\d.]+)", residual)
    inside = {name: float(value) for name, value in found}
    assert inside["manipulated"] > inside["real"] > 0
    assert len(list((site / "_images").glob("what_a_residual_is_*.png"))) == 7
    own = text_of(folder / "own_data.html")
    assert len(re.findall(r"\w+ +AUC +[1-9]\d+\.\d % \([\d.]+ to [\d.]+\)", own)) == 4
    assert len(list((site / "_images").glob("own_data_*.png"))) == 1
