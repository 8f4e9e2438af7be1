"""`rffr-jax push DIR OWNER/NAME`: a model folder as a repository of the Hugging Face hub."""

import pathlib
from collections.abc import Sequence

from rffr_jax.cluster.command_line import Parser
from rffr_jax.runs.hub import push_model


def main(arguments: Sequence[str]) -> int:
    """Uploads a model folder, and prints its name on the hub.

    Raises:
      UserError: as for `push_model`.
    """
    parser = Parser(
        prog="rffr-jax push", description="Uploads a model folder to the Hugging Face hub."
    )
    parser.add_argument("folder", type=pathlib.Path, help="that `rffr-jax export-model` wrote")
    parser.add_argument("repository", help="OWNER/NAME; it is made if it does not exist")
    parser.add_argument("--private", action="store_true", help="a new repository is private")
    options = parser.parse_args(arguments)
    name = push_model(options.folder, options.repository, private=options.private)
    print(f"{name} is the model")
    return 0
