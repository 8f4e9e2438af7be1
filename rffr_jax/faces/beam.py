"""Media prepared by Apache Beam, on one machine or many that share the output's folder.

The mapped function, the files that it writes and all later steps are those of the other runners.
Beam needs older versions of other packages: give it an environment of its own.
"""

import shlex
from collections.abc import Iterator, Sequence

from rffr_jax.errors import UserError
from rffr_jax.faces.runners import Runner, Task, Work


def beam_runner(runner: str, options: str = "") -> Runner:
    """A runner for `build.build_dataset`.

    Args:
      runner: Beam's name of it: `DirectRunner`, `FlinkRunner`, `DataflowRunner`.
      options: its flags in one text, `--direct_running_mode=multi_processing` for example.

    Raises:
      UserError: Beam is not installed, or a mode that loses records.
    """
    try:
        import apache_beam as beam  # pyright: ignore[reportMissingImports]
        from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
            PipelineOptions,
        )
    except ImportError as error:
        raise UserError(
            "--runner needs Apache Beam, in an environment of its own: pip install "
            "'rffr-jax[faces,beam]'"
        ) from error
    if "multi_threading" in options:
        raise UserError(
            "--beam-options: Beam's direct runner loses records with multi_threading; use "
            "multi_processing or in_memory"
        )

    def run(work: Work, tasks: Sequence[Task]) -> Iterator[str]:
        flags = [f"--runner={runner}", *shlex.split(options)]
        try:
            with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
                _ = pipeline | beam.Create(list(tasks)) | beam.Reshuffle() | beam.Map(work.prepare)
        except Exception as error:  # of a worker, in words of many lines; Beam has logged them
            reason = (str(error).strip() or repr(error)).splitlines()[-1]
            raise UserError(
                f"--runner {runner} failed: {reason}; when that is mended, start the same command "
                "again to resume"
            ) from error
        return (task.medium.id for task in tasks)

    return run
