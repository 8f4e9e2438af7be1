"""Model folders on the Hugging Face hub: `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`.

What is downloaded lies in the hub's own cache (`HF_HOME`, `HF_HUB_CACHE`), and is used from there
where the hub cannot be reached, or may not be (`HF_HUB_OFFLINE=1`).
"""

import contextlib
import logging
import pathlib
import re
from collections.abc import Iterator

from rffr_jax import __version__
from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.runs.model_folder import (
    CARD,
    CONFIG,
    FORMAT,
    WEIGHTS,
    check_model,
    is_model_folder,
)

log = logging.getLogger(__name__)

SCHEME = "hf://"
FILES = (WEIGHTS, CONFIG, CARD)
METADATA = """---
library_name: rffr-jax
pipeline_tag: image-classification
license: unknown
tags:
- deepfake-detection
- jax
---
"""


def local_model(name: str, option: str) -> str:
    """The folder of a model: that in the hub's cache for `hf://OWNER/NAME@REVISION`, else `name`.

    Args:
      option: the flag or config entry that names it, for messages.

    Raises:
      UserError: the extra `hub` is not installed, there is no such repository or revision, it holds
        no whole model, or the hub cannot be reached and the model is not in its cache.
    """
    if not name.startswith(SCHEME):
        return name
    repository, at, revision = name.removeprefix(SCHEME).partition("@")
    where = f"{option}={name}"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII) or (at and not revision):
        raise UserError(f"{where} is not hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    with _errors_in_one_line(where):
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=list(FILES),
            library_name="rffr-jax",
            library_version=__version__,
        )
    if not is_model_folder(pathlib.Path(folder)):
        raise UserError(
            f"{where} holds no model of rffr_jax ({CONFIG}, {WEIGHTS}); name a repository that "
            "`rffr-jax push` filled"
        )
    check_model(pathlib.Path(folder), option)
    log.info("%s is in %s", name, folder)
    return folder


def push_model(folder: pathlib.Path, repository: str, *, private: bool = False) -> str:
    """Uploads the three files of a model folder in one commit, and nothing else.

    A repository that does not exist is made. Other files in it stay. What was uploaded before a
    connection broke is not uploaded again.

    Args:
      repository: OWNER/NAME.
      private: whether a new repository is private.

    Returns:
      `hf://OWNER/NAME@COMMIT`.

    Raises:
      UserError: the folder holds no whole model, the repository holds something else under the
        names of these files, or the hub refuses or cannot be reached.
    """
    if not is_model_folder(folder):
        raise UserError(
            f"{folder} is no model folder; write one with `rffr-jax export-model WORKDIR DIR`"
        )
    digest = check_model(folder, "DIR")
    with _errors_in_one_line(repository):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(library_name="rffr-jax", library_version=__version__)
        api.create_repo(repository, private=private or None, exist_ok=True)
        there = set(api.list_repo_files(repository)) & set(FILES)
        if there and not _holds_a_model(repository, there):
            raise UserError(
                f"{repository} holds another {sorted(there)[0]}, which is not overwritten; name "
                "another repository"
            )
        files = {name: folder / name for name in FILES}
        operations = [
            CommitOperationAdd(name, _card(file) if name == CARD else file)
            for name, file in files.items()
        ]
        message = f"Upload a model of rffr_jax {__version__}"
        commit = api.create_commit(repository, operations, commit_message=message)
        (info,) = api.get_paths_info(repository, WEIGHTS, revision=commit.oid)
        if info.lfs is None or info.lfs.sha256 != digest:  # pyright: ignore[reportAttributeAccessIssue]
            raise UserError(f"{repository} has another {WEIGHTS} than was sent; push it again")
    return f"{SCHEME}{repository}@{commit.oid}"


def _holds_a_model(repository: str, there: set[str]) -> bool:
    from huggingface_hub import hf_hub_download

    if CONFIG not in there:
        return False
    config = read_json_object(hf_hub_download(repository, CONFIG))
    return config.get("format") == FORMAT


def _card(file: pathlib.Path) -> bytes:
    """The card with the metadata that the hub reads in front of it."""
    card = file.read_text(encoding="utf-8") if file.is_file() else "# A model of rffr_jax\n"
    if not card.startswith("---\n"):
        card = METADATA + card
    if re.search(r"(?m)^license: unknown$", card):
        log.warning("%s says `license: unknown`; replace it, and push again", file)
    return card.encode()


@contextlib.contextmanager
def _errors_in_one_line(where: str) -> Iterator[None]:
    """Raises: UserError for whatever the hub's client raises."""
    try:
        import huggingface_hub.errors as errors
    except ImportError:
        raise UserError(
            f"{where}: models on the Hugging Face hub need an extra: pip install 'rffr-jax[hub]'"
        ) from None
    try:
        yield
    except UserError:
        raise
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{where}: the repository has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{where}: the hub has no such repository, or it is private: `hf auth login` logs in"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise UserError(f"{where}: HF_HUB_OFFLINE is set; unset it to reach the hub") from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{where}: the hub cannot be reached (or HF_HUB_OFFLINE is set), and its cache does "
            "not hold the model"
        ) from error
    except Exception as error:  # of its client, of HTTP, of the network
        cause = error.__cause__ or error
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise UserError(f"{where}: the hub did not do it ({reason})") from error
