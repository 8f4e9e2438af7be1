"""A server that the tests of the page share."""

import pytest

from tests import jobs
from tests.web.servers import served


@pytest.fixture(scope="package")
def server(tmp_path_factory, detector):
    folder = tmp_path_factory.mktemp("web")
    with served(
        folder / "run", *jobs.GIVEN, f"detector={detector}", "frames_per_video=6"
    ) as running:
        yield running
