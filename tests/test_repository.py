"""What README, docs, configs and the package promise a reader: links, commands, names, layers."""

import ast
import importlib
import pathlib
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from ml_collections import ConfigDict

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/*.md")])
CONFIGS = sorted(path.relative_to(ROOT) for path in ROOT.glob("configs/**/*.py"))


def commands(page: pathlib.Path) -> list[list[str]]:
    """The words of every command in the page's code blocks, without comments."""
    found = []
    for block in re.findall(r"(?ms)^```\w*\n(.*?)^```", page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.replace("...", ""), comments=True) if "python" in line else []
            found += [words] if words else []
            found += [line.split("#")[0].split()] if line.startswith("make ") else []
    return found


def anchors(page: pathlib.Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    """Paths of the tree in backticks, such as `rffr_jax/method/residual.py`."""
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:rffr_jax|configs|scripts|tests|docs)/[\w/.\-]+)`", text):
        assert (ROOT / path).exists(), path


def test_commands_that_are_written_down_exist():
    targets = set(re.findall(r"(?m)^([a-z][\w\-]*):", (ROOT / "Makefile").read_text()))
    seen = 0
    for page in PAGES:
        for words in commands(page):
            where = f"{page.name}: {' '.join(words)}"
            if words[0] == "make":
                wanted = [word for word in words[1:] if "=" not in word]
                assert set(wanted) <= targets, where
                seen += 1
            if "rffr_jax.main" in words:
                config_of(words, where)
                seen += 1
            for name in [w for w in words if re.fullmatch(r"(\./)?scripts/\w+\.py", w)]:
                source = (ROOT / name).read_text(encoding="utf-8")
                for flag in [word.partition("=")[0] for word in words if word.startswith("--")]:
                    assert f'"{flag}"' in source, f"{where}: {flag}"
                seen += 1
    assert seen > 30


def config_of(words: list[str], where: str):
    """Loads the config of a command and checks that it has every key that the command sets."""
    config = None
    for word in words:
        name, _, value = word.partition("=")
        if name == "--config":
            if value == "configs/JOB.py":
                return
            path, _, variant = value.partition(":")
            config = load(pathlib.Path(path), variant)
        elif name.startswith("--config."):
            assert config is not None, where
            entry: Any = config
            for key in name.split(".")[1:]:
                if key == "KEY":
                    break
                assert key in entry, f"{where}: {name}"
                entry = entry[key]


def load(path: pathlib.Path, variant: str = "") -> ConfigDict:
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    return module.get_config(variant) if variant else module.get_config()


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_every_config_loads(path):
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    if not hasattr(module, "get_config"):
        assert "def " in (ROOT / path).read_text(encoding="utf-8")  # what tables share
        return
    assert load(path).job
    assert (module.__doc__ or "").strip()
    text = (ROOT / path).read_text(encoding="utf-8")
    assert f"--config={path}" in text, "its header names no command"


def test_every_public_name_has_a_docstring():
    missing = []
    for path in sorted((ROOT / "rffr_jax").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        missing += [] if ast.get_docstring(tree) else [str(path)]
        for node in tree.body:
            missing += undocumented(node, f"{path.relative_to(ROOT)}:")
    assert not missing


def undocumented(node: ast.stmt, where: str) -> list[str]:
    """Public functions, classes and methods without a docstring; a protocol's need none."""
    if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
        return []
    found = [] if ast.get_docstring(node) else [f"{where}{node.lineno} {node.name}"]
    if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
        for inner in node.body:
            is_property = isinstance(inner, ast.FunctionDef) and any(
                "property" in ast.unparse(decorator) for decorator in inner.decorator_list
            )
            found += [] if is_property else undocumented(inner, where)
    return found


def test_rooms_import_only_from_rooms_below_them():
    command = [str(pathlib.Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout


def test_the_root_holds_five_modules_and_no_drawer():
    root = {path.name for path in (ROOT / "rffr_jax").glob("*.py")}
    assert root == {"__init__.py", "main.py", "config.py", "errors.py", "examples.py"}
    for path in (ROOT / "rffr_jax").rglob("*.py"):
        assert path.stem not in {"utils", "util", "common", "helpers", "misc"}, path
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_importing_the_package_does_nothing():
    """No heavy import, no file, no handler, no change of the environment."""
    program = (
        "import os, sys, logging, signal; before = dict(os.environ); "
        "hook = sys.excepthook; handlers = [signal.getsignal(s) for s in (2, 6, 15)]; "
        "import rffr_jax, rffr_jax.main; "
        "assert dict(os.environ) == before; assert sys.excepthook is hook; "
        "assert handlers == [signal.getsignal(s) for s in (2, 6, 15)]; "
        "assert not logging.getLogger('rffr_jax').handlers; "
        "heavy = {'jax', 'flax', 'tensorflow_datasets', 'sklearn', 'cv2'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_nothing_of_the_package_patches_what_it_imports():
    """An assignment to an attribute of an imported module is a patch."""
    for path in (ROOT / "rffr_jax").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {
            (alias.asname or alias.name).split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } - {"os"}
        for node in tree.body:
            for target in node.targets if isinstance(node, ast.Assign) else []:
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                    assert target.value.id not in modules, f"{path}:{node.lineno}"


def test_the_config_of_the_demo_loads_without_jax():
    program = "import sys; from configs import quickstart; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
