"""Job `web`: a page and an HTTP API that score uploads, and keep none of them."""

import contextlib
import ipaddress
import logging
import pathlib
import shutil
import signal
import socket
from collections.abc import Iterator

from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.errors import UserError
from rffr_jax.runs.lock import locked_folder
from rffr_jax.web.scoring_process import ScoringProcess
from rffr_jax.web.terms import upload_terms
from rffr_jax.web.trusted_hosts import TrustedHosts
from rffr_jax.web.upload_queue import UploadQueue

log = logging.getLogger(__name__)

SECONDS_TO_END = 5  # for unfinished answers when the server stops
UPLOADS = "rffr_jax_uploads"


def run(config: Config, workdir: pathlib.Path):
    """Serves until SIGTERM or Ctrl-C. Uploads stay in the workdir until they are answered.

    Raises:
      UserError: a package is missing, the address is taken, a trusted host is not valid, or the
        detector cannot be loaded.
    """
    if processes.process_count() > 1:
        raise UserError("web runs in one process; start one server")
    with (
        locked_folder(workdir),
        _listen(config.host, config.port) as listener,
        _empty_folder(workdir.resolve() / UPLOADS) as folder,
    ):
        _serve(config, listener, folder)


@contextlib.contextmanager
def _empty_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """An empty folder that only this user can read; it is deleted at the end of the block."""
    if folder.is_symlink() or folder.is_file():
        raise UserError(f"{folder} is no folder; take it away, the server keeps uploads there")
    if folder.exists():  # of a server that was killed
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _serve(config: Config, listener: socket.socket, folder: pathlib.Path):
    try:
        import uvicorn

        from rffr_jax.web.api import make_api
        from rffr_jax.web.connection import Connection
        from rffr_jax.web.multipart_file import MEGABYTE, Limits
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing: pip install '.[web]'") from error
    host, port = listener.getsockname()[:2]
    trusted = TrustedHosts(host, port, config.trusted_hosts)
    scorer = ScoringProcess(config)
    try:
        uploads = UploadQueue(scorer, folder, config.most_waiting)
        most_bytes = int(config.most_megabytes * MEGABYTE)
        limits = Limits(most_bytes, config.seconds_without_progress)
        settings = uvicorn.Config(
            make_api(uploads, limits, trusted, upload_terms(config)),
            http=Connection,
            ws="none",
            log_level="warning",
            proxy_headers=False,  # any sender could write them
            server_header=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        if scorer.note:
            log.warning("%s", scorer.note)
        if not ipaddress.ip_address(host).is_loopback:
            log.warning("%s is open to a network: there are no users and no encryption", host)
        print(f"rffr_jax: open http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        # uvicorn stops at one of these signals, and then sends it to this process once more.
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: None)
        uvicorn.Server(settings).run(sockets=[listener])
    finally:
        scorer.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen on host={host}, port={port}: {reason}; choose another --config.port"
        ) from error
