"""Job `web`: a page and an HTTP API that score uploads, and keep none of them."""

import contextlib
import ipaddress
import logging
import pathlib
import shutil
import socket
from collections.abc import Iterator, Sequence
from concurrent import futures

from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.data.loading import usable_cores
from rffr_jax.errors import UserError
from rffr_jax.runs.lock import locked_folder
from rffr_jax.web.scoring_process import ScoringProcess
from rffr_jax.web.stop_signals import StopSignals
from rffr_jax.web.terms import upload_terms
from rffr_jax.web.trusted_hosts import TrustedHosts
from rffr_jax.web.upload_queue import UploadQueue

log = logging.getLogger(__name__)

SECONDS_TO_END = 5  # for refusals of what is not answered when the server ends
SECONDS_BETWEEN_LOOKS = 0.1  # for a signal
UPLOADS = "rffr_jax_uploads"


def run(config: Config, workdir: pathlib.Path):
    """Serves until SIGTERM or Ctrl-C (`GracefulServer`).

    Uploads stay in the workdir until they are answered.

    Raises:
      UserError: a package is missing, there are more scorers than cores, the address is taken, a
        trusted host is not valid, or the detector cannot be loaded.
    """
    if processes.process_count() > 1:
        raise UserError("web runs in one process; start one server")
    if config.scorers > usable_cores():
        raise UserError(
            f"--config.scorers={config.scorers}; it must not be above {usable_cores()}, the cores "
            "of this machine"
        )
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
        from rffr_jax.web.graceful_server import GracefulServer
        from rffr_jax.web.multipart_file import MEGABYTE, Limits
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing: pip install 'rffr-jax[web]'") from error
    host, port = listener.getsockname()[:2]
    trusted = TrustedHosts(host, port, config.trusted_hosts)
    limits = Limits(int(config.most_megabytes * MEGABYTE), config.seconds_without_progress)
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        scorers = [
            stack.enter_context(contextlib.closing(ScoringProcess(config)))
            for _ in range(config.scorers)
        ]
        if not _wait_until_ready(scorers, signals):
            return
        uploads = UploadQueue(scorers, folder, config.most_waiting)
        settings = uvicorn.Config(
            make_api(uploads, limits, trusted, upload_terms(config)),
            http=Connection,
            ws="none",
            log_level="warning",
            proxy_headers=False,  # any sender could write them
            server_header=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        log.info("the detector is %s", scorers[0].detector)
        if uploads.note:
            log.warning("%s", uploads.note)
        if not ipaddress.ip_address(host).is_loopback:
            log.warning("%s is open to a network: there are no users and no encryption", host)
        print(f"rffr_jax: open http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        server = GracefulServer(settings, uploads, signals, config.seconds_to_stop)
        server.run(sockets=[listener])


def _wait_until_ready(scorers: Sequence[ScoringProcess], signals: StopSignals) -> bool:
    """Whether all can score; they cannot when a signal comes before."""
    with futures.ThreadPoolExecutor(len(scorers)) as pool:
        loading = [pool.submit(scorer.wait_until_ready) for scorer in scorers]
        while not signals.count and futures.wait(loading, SECONDS_BETWEEN_LOOKS).not_done:
            pass
        if signals.count:
            for scorer in scorers:
                scorer.close()
            return False
        for one in loading:
            one.result()
    return True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen on host={host}, port={port}: {reason}; choose another --config.port"
        ) from error
