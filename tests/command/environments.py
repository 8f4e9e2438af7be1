"""A new virtual environment, and commands that run in it as a user's do."""

import os
import pathlib
import subprocess
import sys
import sysconfig

SECONDS = 900


class Environment:
    """A new virtual environment.

    Attributes:
      bin: the folder of its commands.
    """

    def __init__(self, folder: pathlib.Path):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=SECONDS)
        self.bin = folder / "bin"

    def variables(self) -> dict[str, str]:
        """The environment variables of its commands; they find no package of a checkout."""
        variables = os.environ | {"PATH": f"{self.bin}:{os.environ['PATH']}"}
        variables.pop("PYTHONPATH", None)
        return variables

    def run(self, *command: str | pathlib.Path, cwd: pathlib.Path) -> str:
        """What a command prints, which ends well."""
        ended = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def packages(self) -> pathlib.Path:
        """The folder of its packages."""
        code = "import site; print(site.getsitepackages()[0])"
        return pathlib.Path(self.run("python", "-c", code, cwd=self.bin).strip())

    def borrow_packages(self):
        """Reads packages of the environment that runs the tests, where it has none of its own.

        Those that are installed there in editable mode are not seen.
        """
        (self.packages() / "needs.pth").write_text(sysconfig.get_paths()["purelib"])
