"""The host names under which the server answers.

A page of another host can let its own name point to this server's address (DNS rebinding). The
browser then allows its requests; only the `Host` header shows them.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable

from rffr_jax.errors import UserError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_NAME = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")


class TrustedHosts:
    """The `Host` headers that are trusted.

    On a loopback address these are `localhost`, `127.0.0.1`, `[::1]` and the address itself. On any
    other address they are every numeric address (none can be made to point elsewhere), `localhost`
    and this machine's name. All of them need the server's port. `names` are trusted as well.
    """

    def __init__(self, address: str, port: int, names: Iterable[str] = ()):
        """
        Args:
          address: numeric, of the server.
          names: `NAME` is trusted with the server's port and without a port, `NAME:PORT` as it is.

        Raises:
          UserError: a name is not that of a host.
        """
        self._port = port
        self._all_addresses = not ipaddress.ip_address(address).is_loopback
        own = {*LOOPBACK_NAMES, f"[{address}]" if ":" in address else address}
        if self._all_addresses:
            own.add(socket.gethostname().lower())
        self._trusted = {place for name in own for place in self._with_port(name)}
        for name in names:
            if not _NAME.fullmatch(name):
                raise UserError(
                    f"--config.trusted_hosts: {name!r} is not the name of a host; write "
                    "faces.example.org or faces.example.org:8443"
                )
            self._trusted |= {name.lower(), f"{name.lower()}:{port}"}

    def __contains__(self, host: str) -> bool:
        host = host.lower()
        return host in self._trusted or (self._all_addresses and self._is_address(host))

    def _with_port(self, name: str) -> set[str]:
        return {f"{name}:{self._port}"} | ({name} if self._port == 80 else set())

    def _is_address(self, host: str) -> bool:
        found = re.fullmatch(r"(\[(?P<v6>[0-9a-f:.]+)\]|(?P<v4>[0-9.]+))(:(?P<port>[0-9]+))?", host)
        if not found or (found["port"] or "80") != str(self._port):
            return False
        try:
            ipaddress.ip_address(found["v6"] or found["v4"])
        except ValueError:
            return False
        return True
