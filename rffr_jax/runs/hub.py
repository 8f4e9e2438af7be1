"""Model folders on the Hugging Face hub: `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`.

What is downloaded lies in the hub's own cache (`HF_HOME`, `HF_HUB_CACHE`), and is used from there
where the hub cannot be reached, or may not be (`HF_HUB_OFFLINE=1`).
"""

import contextlib
import logging
import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rffr_jax import __version__
from rffr_jax.config import HUB
from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import describe_disk_error, read_json_object
from rffr_jax.runs.model_folder import (
    CARD,
    CONFIG,
    FORMAT,
    WEIGHTS,
    check_model,
    is_model_folder,
    read_config,
)
from rffr_jax.runs.text_files import read_text

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

FILES = (WEIGHTS, CONFIG, CARD)
COMMIT_TITLE = "Upload a model of rffr_jax"
METADATA = """---
library_name: rffr-jax
pipeline_tag: image-classification
license: unknown
tags:
- deepfake-detection
- jax
---
"""


def download_model(name: str, option: str) -> tuple[str, pathlib.Path]:
    """A model of the hub, in its cache.

    Args:
      name: `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`; without a revision it is `main`.
      option: the flag or config entry that names it, for messages.

    Returns:
      `hf://OWNER/NAME@COMMIT`, and the model folder.

    Raises:
      UserError: the extra `hub` is not installed, there is no such repository or revision, it holds
        no whole model, the hub cannot be reached and the model is not in its cache, or the cache
        cannot be written.
    """
    repository, at, revision = name.removeprefix(f"{HUB}://").partition("@")
    where = f"{option}={name}"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII) or (at and not revision):
        raise UserError(f"{where} is not hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    client: dict[str, Any] = {"library_name": "rffr-jax", "library_version": __version__}
    with _errors_in_one_line(where):
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import RemoteEntryNotFoundError

        try:
            config = hf_hub_download(repository, CONFIG, revision=revision or None, **client)
        except RemoteEntryNotFoundError:
            raise UserError(
                f"{where} holds no model of rffr_jax ({CONFIG}, {WEIGHTS}); name a repository that "
                "`rffr-jax push` filled"
            ) from None
    folder = pathlib.Path(config).parent
    commit = folder.name
    with _damage_of_cache(where, folder):
        read_config(folder, option)  # before the weights, which may be large
    with _errors_in_one_line(where):
        snapshot_download(repository, revision=commit, allow_patterns=list(FILES), **client)
    with _damage_of_cache(where, folder):
        check_model(folder, option)
    return f"{HUB}://{repository}@{commit}", folder


def push_model(folder: pathlib.Path, repository: str, *, private: bool = False) -> str:
    """Uploads the three files of a model folder in one commit, and nothing else.

    A repository that does not exist is made. Other files in it stay. What was uploaded before a
    connection broke is not uploaded again.

    Args:
      repository: OWNER/NAME.
      private: whether a new repository is private; one that exists must be.

    Returns:
      `hf://OWNER/NAME@COMMIT`.

    Raises:
      UserError: the folder holds no whole model; the repository is public and should not be, holds
        something else under the names of these files, or a card that was edited there; the hub
        refuses or cannot be reached.
    """
    if not is_model_folder(folder):
        raise UserError(
            f"{folder} is no model folder; write one with `rffr-jax export-model WORKDIR DIR`"
        )
    digest, card = check_model(folder, "DIR"), _card(folder / CARD)
    with _errors_in_one_line(repository):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(library_name="rffr-jax", library_version=__version__)
        api.create_repo(repository, private=private or None, exist_ok=True)
        info = api.repo_info(repository)
        assert info.sha is not None  # of a repository that exists
        if private and not info.private:
            raise UserError(
                f"{repository} is public, so --private would publish the model; make it private in "
                "its settings on the hub, or name another repository"
            )
        there = set(api.list_repo_files(repository, revision=info.sha)) & set(FILES)
        if there and not _holds_a_model(repository, there, info.sha):
            raise UserError(
                f"{repository} holds another {sorted(there)[0]}, which is not overwritten; name "
                "another repository"
            )
        if CARD in there and _was_edited_there(api, repository, card, info.sha):
            raise UserError(
                f"{repository}: its {CARD} was edited on the hub, and is not overwritten; take it "
                f"over into {folder / CARD}, and push again"
            )
        weights = CommitOperationAdd(WEIGHTS, folder / WEIGHTS)
        if weights.upload_info.sha256.hex() != digest:
            raise UserError(f"{folder / WEIGHTS} was changed a moment ago; push it again")
        commit = api.create_commit(
            repository,
            [
                weights,
                CommitOperationAdd(CONFIG, folder / CONFIG),
                CommitOperationAdd(CARD, card),
            ],
            commit_message=f"{COMMIT_TITLE} {__version__}",
            parent_commit=info.sha,
        )
        (sent,) = api.get_paths_info(repository, WEIGHTS, revision=commit.oid)
        if sent.lfs is None or sent.lfs.sha256 != digest:  # pyright: ignore[reportAttributeAccessIssue]
            raise UserError(f"{repository} has another {WEIGHTS} than was sent; push it again")
    return f"{HUB}://{repository}@{commit.oid}"


def _holds_a_model(repository: str, there: set[str], commit: str) -> bool:
    from huggingface_hub import hf_hub_download

    if CONFIG not in there:
        return False
    config = read_json_object(hf_hub_download(repository, CONFIG, revision=commit))
    return config.get("format") == FORMAT


def _was_edited_there(api: "HfApi", repository: str, card: bytes, commit: str) -> bool:
    """Whether the card of a repository is neither `card` nor that of its last push."""

    def content(revision: str) -> bytes:
        return pathlib.Path(api.hf_hub_download(repository, CARD, revision=revision)).read_bytes()

    now = content(commit)
    if now == card:
        return False
    pushes = (
        one.commit_id
        for one in api.list_repo_commits(repository, revision=commit)
        if one.title.startswith(COMMIT_TITLE)
    )
    last = next(pushes, "")
    return not last or content(last) != now


def _card(file: pathlib.Path) -> bytes:
    """The card with the metadata that the hub reads in front of it.

    Raises:
      UserError: it cannot be read.
    """
    card = read_text(file) if file.is_file() else "# A model of rffr_jax\n"
    front = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    if not front or not re.search(r"(?m)^license: *(?!unknown\b)\S", front[1]):
        log.warning(
            "%s names no licence: put `license: ...` into its front matter, and push again", file
        )
    return (card if front else METADATA + card).encode()


@contextlib.contextmanager
def _damage_of_cache(where: str, folder: pathlib.Path) -> Iterator[None]:
    """Errors of a model folder say what somebody can do who has it from the hub."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"{where}: {error}; delete {folder.parents[1]} to download it again, or name another "
            "revision"
        ) from None


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
    except errors.HFValidationError as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
    except (
        errors.HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        errors.XetDownloadError,
        ConnectionError,
        TimeoutError,
        RuntimeError,  # of a large file that was not uploaded
    ) as error:
        cause = error.__cause__ or error
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise UserError(f"{where}: the hub did not do it ({reason})") from error
    except OSError as error:
        reason = describe_disk_error(error)
        if not reason:
            raise
        raise UserError(
            f"{where}: a file cannot be written or read: {reason}; HF_HOME names another place for "
            "the hub's cache"
        ) from error
