"""Reference of commands and configs, from the program itself."""

import contextlib
import inspect
import io
import pathlib

from rffr_jax.command import entry
from rffr_jax.command.config_keys import config_keys, config_module
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


def write(folder: pathlib.Path):
    """Writes `commands.md`, a page for each config below `configs/`, and `configs/index.md`."""
    names = list(entry.config_files())
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


def config_page(name: str) -> str:
    """The header of a config and a table of its keys, their defaults and their comments."""
    title, _, rest = (inspect.getdoc(config_module(name)) or "").partition("\n")
    rows = [
        f"| `{key.name}` | {_code(key.default)} {_cell(key.comment)} |" for key in config_keys(name)
    ]
    header = f"```text\n{rest.strip()}\n```\n\n" if rest.strip() else ""
    table = "\n".join(["| key | default, comment |", "| --- | --- |", *rows])
    return f"# {name}\n\n{title}\n\n{header}{table}\n"


def _code(value: object) -> str:
    return f"`{_cell(repr(value))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
