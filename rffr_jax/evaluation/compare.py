"""Job `compare`: which of several evaluated detectors has the higher AUC on the same examples."""

import pathlib

from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.evaluation.paired_comparison import (
    comparison_table,
    format_comparison,
    write_comparison,
)
from rffr_jax.runs.workdir import locked_workdir, write_config


def run(config: Config, workdir: pathlib.Path):
    """Writes compare.json, compare.md and compare.png; prints the table."""
    table = comparison_table([name for name in config.runs.split(",") if name], config.replicates)
    with locked_workdir(workdir):
        write_config(workdir, config)
        if processes.is_main_process():
            write_comparison(workdir, "compare", table)
    if processes.is_main_process():
        print(format_comparison(table))
