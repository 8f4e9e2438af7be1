"""Pages of the notebooks: their text, their code, and what the code prints and draws.

A notebook is a Python file in the percent format, which VS Code, Jupyter (with jupytext) and
`python` run: `# %% [markdown]` begins text, `# %%` begins code.
"""

import contextlib
import io
import pathlib
import re

import matplotlib
import matplotlib.pyplot as plt

from scripts.docs_site.navigation import ROOT

_CELL = re.compile(r"(?m)^# %%(?P<kind> \[markdown\])?.*\n")
NOTEBOOKS = ROOT / "docs/notebooks"


def write(folder: pathlib.Path):
    """Runs every notebook of `docs/notebooks/` and writes its page below `notebooks/`."""
    target = folder / "notebooks"
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(NOTEBOOKS.glob("*.py")):
        (target / f"{path.stem}.md").write_text(page(path, target), encoding="utf-8")


def cells(source: str) -> list[tuple[bool, str]]:
    """The cells of a notebook: whether it is text, and its text or code."""
    starts = list(_CELL.finditer(source))
    ends = [*(start.start() for start in starts[1:]), len(source)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        body = source[start.end() : end].strip("\n")
        if start["kind"]:
            body = re.sub(r"(?m)^# ?", "", body)
        found.append((bool(start["kind"]), body))
    return found


def page(path: pathlib.Path, target: pathlib.Path) -> str:
    """The notebook as Markdown. Its pictures are written beside the page.

    Args:
      target: the folder of the page.

    Raises:
      Exception: whatever the notebook raises.
    """
    matplotlib.use("agg")
    names: dict[str, object] = {"__name__": "__main__"}
    parts = [f"*[{path.name}](../../notebooks/{path.name}), run when this site was built.*"]
    pictures = 0
    for number, (is_text, body) in enumerate(cells(path.read_text(encoding="utf-8"))):
        if is_text:
            parts.append(body)
            continue
        parts.append(f"```python\n{body}\n```")
        with io.StringIO() as printed, contextlib.redirect_stdout(printed):
            exec(compile(body, f"<{path.name}, cell {number}>", "exec"), names)
            if text := printed.getvalue().strip():
                parts.append(f"```text\n{text}\n```")
        for figure in map(plt.figure, plt.get_fignums()):
            pictures += 1
            name = f"{path.stem}_{pictures}.png"
            figure.savefig(target / name, bbox_inches="tight")
            parts.append(f"![Drawn by the code above]({name})")
        plt.close("all")
    return "\n\n".join([parts[1], parts[0], *parts[2:]]) + "\n"
