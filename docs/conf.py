"""The site: `make docs` builds it with Sphinx from the Markdown files as they are.

The root of the sources is the root of the repository, so that links lead where they do on GitHub.
What is not written by hand (`scripts/docs_site/`) is generated into `docs/generated/`.
"""

import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import rffr_jax  # noqa: E402
from scripts.docs_site import api_pages, navigation, notebook_pages, reference_pages  # noqa: E402

project = "rffr_jax"
copyright = "the authors of rffr_jax"
release = rffr_jax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = navigation.FRONT
exclude_patterns = [path.name for path in ROOT.iterdir() if path.name not in navigation.FOLDERS]
exclude_patterns = [name for name in exclude_patterns if name not in navigation.ROOT_PAGES]

myst_heading_anchors = 4
highlight_language = "text"
default_role = "code"
smartquotes = False
add_module_names = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True

INDENTED = re.compile(r"(?m)^([^\s:.*-].*)\n\n(?= {4}\S)")
ARRAY = re.compile(r"\b(?:jaxlib\._jax|jax|numpy)\.(Array|ndarray)\b")

html_theme = "furo"
html_title = "rffr_jax"
html_copy_source = False
html_show_sphinx = False


def write_generated_pages(app):
    folder = ROOT / navigation.GENERATED
    shutil.rmtree(folder, ignore_errors=True)
    reference_pages.write(folder)
    api_pages.write(folder)
    notebook_pages.write(folder)


def complete_page(app, name: str, source: list[str]):
    source[0] = navigation.complete(name, source[0])


def read_docstring(app, kind: str, name: str, thing, options, lines: list[str]):
    """`|x|` is a size, not a substitution; an indented block is code or a formula, not a quote."""
    text = "\n".join(lines).replace("|", "\\|")
    lines[:] = INDENTED.sub(r"\1\n\n::\n\n", text).split("\n")


def shorten_arrays(app, kind: str, name: str, thing, options, signature: str, returned: str):
    """`Float[Array, "batch"]`, as the source has it."""
    return tuple(text and ARRAY.sub(r"\1", text) for text in (signature, returned))


def write_index(app, exception):
    """Servers look for index.html; the front page has the name of its source."""
    if not exception:
        address = f"{navigation.FRONT}.html"
        refresh = f'<meta http-equiv="refresh" content="0; url={address}">'
        head = f"<!doctype html>\n<title>{project}</title>\n{refresh}\n"
        text = f'{head}<a href="{address}">{project}</a>\n'
        pathlib.Path(app.outdir, "index.html").write_text(text, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write_generated_pages)
    app.connect("source-read", complete_page)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", shorten_arrays)
    app.connect("build-finished", write_index)
