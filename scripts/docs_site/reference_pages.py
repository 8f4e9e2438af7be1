"""Reference of commands and configs, from the program itself."""

import contextlib
import importlib
import inspect
import io
import pathlib
import re
from types import ModuleType

from rffr_jax.command import entry
from rffr_jax.config import flat
from scripts.docs_site.navigation import GENERATED, toctree

SCORE_TABLES = {"metrics": [], "compare": ["TABLE.csv"]}
COMMANDS = """# Commands

```text
{help}
```

## rffr-jax JOB

Every job has the keys of its config ([all configs](configs/index.md)) and these flags:

```text
{flags}
```
"""
CONFIGS = """# Configs

`rffr-jax JOB` takes the config of that name. `--config.KEY=VALUE` changes a key for one run.
Keys that follow others, such as warm-up steps that are a tenth of the steps, change with them.
Tables of the paper are below `paper/`, settings for photographs below `recipes/`.
"""
JOBS_OF_EXPERIMENTS = ("pretrain", "detect", "evaluate", "residual")
_ASSIGNMENT = re.compile(r"^ *config\.([\w.]+(?:, config\.[\w.]+)*) = ")


def write(folder: pathlib.Path):
    """Writes `commands.md`, a page for each config below `configs/`, and `configs/index.md`."""
    names = config_names()
    pages = {f"configs/{name}": config_page(name) for name in names}
    tree = tuple(f"{GENERATED}/configs/{name}" for name in names)
    pages["configs/index"] = CONFIGS + toctree("", tree, hidden=False)
    pages["commands"] = commands_page()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def commands_page() -> str:
    """What `--help` prints, of the program and of each command that is no job."""
    page = COMMANDS.format(help=_printed(["--help"]), flags=_printed(["--config=JOB", "--help"]))
    for command in sorted({*entry.OTHERS, *SCORE_TABLES} - {"doctor"}):
        given = [command, *SCORE_TABLES.get(command, []), "--help"]
        page += f"\n## rffr-jax {command}\n\n```text\n{_printed(given)}\n```\n"
    return page


def _printed(arguments: list[str]) -> str:
    with io.StringIO() as text, contextlib.redirect_stdout(text):
        with contextlib.suppress(SystemExit):  # argparse ends so after its help
            entry.run(arguments)
        return text.getvalue().strip()


def config_names() -> list[str]:
    """Every config, such as `pretrain` and `paper/table5`; the jobs first."""
    folder = entry.configs_folder()
    files = sorted(folder.rglob("*.py"), key=lambda file: (len(file.parts), file))
    names = [file.relative_to(folder).with_suffix("").as_posix() for file in files]
    return [name for name in names if hasattr(_config(name), "get_config")]


def config_page(name: str) -> str:
    """The header of a config and a table of its keys, their defaults and their comments."""
    module = _config(name)
    config = module.get_config().copy_and_resolve_references()
    title, _, rest = (inspect.getdoc(module) or "").partition("\n")
    found = _comments(module, config.job)
    rows = [
        f"| `{key}` | {_code(value)} {_cell(_nearest(found, key))} |"
        for key, value in flat(config.to_dict()).items()
    ]
    header = f"```text\n{rest.strip()}\n```\n\n" if rest.strip() else ""
    table = "\n".join(["| key | default, comment |", "| --- | --- |", *rows])
    return f"# {name}\n\n{title}\n\n{header}{table}\n"


def comments_in(source: str) -> dict[str, str]:
    """The comment above the line of each key, by the key's dotted name."""
    found, above = {}, []
    for line in source.splitlines():
        if line.lstrip().startswith("# "):
            above.append(line.strip().removeprefix("# "))
            continue
        if above and (assigned := _ASSIGNMENT.match(line)):
            for key in assigned[1].split(", config."):
                found[key] = " ".join(above)
        above = []
    return found


def _comments(module: ModuleType, job: str) -> dict[str, str]:
    """The comments of a config, and those of the configs that it changes."""
    found = {}
    if job == "experiment":
        for inner in JOBS_OF_EXPERIMENTS:
            comments = comments_in(inspect.getsource(_config(inner)))
            found |= {f"{inner}.{key}": comment for key, comment in comments.items()}
    changed = _config("paper/base" if job == "experiment" else job)
    return found | comments_in(inspect.getsource(changed)) | comments_in(inspect.getsource(module))


def _nearest(found: dict[str, str], key: str) -> str:
    """The comment of a key, else that of the section that it is in."""
    while key and key not in found:
        key = key.rpartition(".")[0]
    return found.get(key, "")


def _config(name: str) -> ModuleType:
    return importlib.import_module("configs." + name.replace("/", "."))


def _code(value: object) -> str:
    return f"`{_cell(repr(value))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
