"""Job `web`: a page and an HTTP API that score uploads, and keep none of them."""

import ipaddress
import logging
import os
import pathlib
import shutil
import signal
import socket
import tempfile

from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.errors import UserError
from rffr_jax.runs.lock import locked
from rffr_jax.web.scoring_process import ScoringProcess
from rffr_jax.web.uploads import Uploads

log = logging.getLogger(__name__)

SECONDS_TO_END = 5  # for answers that are on their way when the server stops
_PREFIX = "uploads-"


def run(config: Config, workdir: pathlib.Path):
    """Serves until SIGTERM or Ctrl-C. Uploads lie in the workdir until they are answered.

    Raises:
      UserError: Gradio is missing, the address is taken, or the detector cannot be loaded.
    """
    if processes.count() > 1:
        raise UserError("web runs in one process; start one server")
    with locked(workdir), _listening(config.host, config.port) as listener:
        for left in workdir.glob(f"{_PREFIX}*"):  # by a server that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=workdir.resolve(), prefix=_PREFIX) as folder:
            _serve(config, listener, pathlib.Path(folder))


def _serve(config: Config, listener: socket.socket, folder: pathlib.Path):
    os.environ |= {"GRADIO_TEMP_DIR": str(folder / "page"), "GRADIO_ANALYTICS_ENABLED": "False"}
    try:
        import uvicorn

        from rffr_jax.web.api import MEGABYTE, make_api
        from rffr_jax.web.page import add_page
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing: pip install '.[web]'") from error
    scorer = ScoringProcess(config)
    try:
        uploads = Uploads(scorer, folder, config.most_waiting)
        most_bytes = int(config.most_megabytes * MEGABYTE)
        app = add_page(make_api(uploads, most_bytes), uploads, most_bytes)
        settings = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=SECONDS_TO_END, server_header=False
        )
        if scorer.note:
            log.warning("%s", scorer.note)
        host, port = listener.getsockname()[:2]
        if not ipaddress.ip_address(host).is_loopback:
            log.warning("%s is open to a network: there are no users and no encryption", host)
        print(f"rffr_jax: open http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        # The server ends well when one of these comes, and then sends it to itself once more.
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: None)
        uvicorn.Server(settings).run(sockets=[listener])
    finally:
        scorer.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen on host={host}, port={port}: {reason}; choose another --config.port"
        ) from error
