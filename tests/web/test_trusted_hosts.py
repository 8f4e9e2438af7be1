"""Which `Host` headers are trusted."""

import socket

import pytest

from rffr_jax.errors import UserError
from rffr_jax.web.trusted_hosts import TrustedHosts


@pytest.mark.parametrize(
    "host", ["localhost:7860", "LOCALHOST:7860", "127.0.0.1:7860", "[::1]:7860"]
)
def test_names_of_the_loopback_address(host):
    assert host in TrustedHosts("127.0.0.1", 7860)
    assert host in TrustedHosts("0.0.0.0", 7860)


@pytest.mark.parametrize(
    "host",
    [
        *("", "localhost", "127.0.0.1", "localhost:", "localhost:80", "localhost:7861"),
        *("localhost.:7860", "evil.localhost:7860", "localhost:7860.evil.org", "evil.org:7860"),
        *("localhost:7860@evil.org", "evil.org@localhost:7860", "localhost:07860", " :7860"),
        *("localhost:7860:7860", "127.0.0.1.evil.org:7860", "127.1:7860", "2130706433:7860"),
        *("0x7f.0.0.1:7860", "0.0.0.0:7860", "10.0.0.1:7860", "[::]:7860", "::1:7860"),
        *("localhost:7860,evil.org", "localhost:7860 evil.org", "[::ffff:127.0.0.1]:7860"),
    ],
)
def test_other_names_are_not_trusted_on_loopback(host):
    assert host not in TrustedHosts("127.0.0.1", 7860)


def test_numeric_addresses_and_its_own_name_are_trusted_on_a_network():
    trusted = TrustedHosts("0.0.0.0", 7860)
    for host in ("10.0.0.1:7860", "[2001:db8::1]:7860", f"{socket.gethostname()}:7860"):
        assert host in trusted
    for host in ("10.0.0.1", "10.0.0.1:80", "10.0.0.1.evil.org:7860", "evil.org:7860", "1:7860"):
        assert host not in trusted


def test_port_80_needs_no_port():
    assert "localhost" in TrustedHosts("127.0.0.1", 80)
    assert "10.0.0.1" in TrustedHosts("0.0.0.0", 80)


def test_names_that_a_user_adds():
    trusted = TrustedHosts("127.0.0.1", 7860, ("Faces.example.org", "other.example.org:8443"))
    for host in ("faces.example.org", "faces.example.org:7860", "other.example.org:8443"):
        assert host in trusted
    for host in ("faces.example.org:8443", "other.example.org", "x.faces.example.org"):
        assert host not in trusted
    for name in ("https://faces.example.org", "*.example.org", "", "a b"):
        with pytest.raises(UserError, match="is not the name of a host"):
            TrustedHosts("127.0.0.1", 7860, (name,))
