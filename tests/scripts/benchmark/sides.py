"""Sides of a row that do no work, for tests of the processes and the rounds."""

import os

import numpy as np

from scripts.benchmark.contestant import Loaded, UnavailableError, Work
from scripts.benchmark.setup import Setup

GIBIBYTE = 2**30


def _noted(setup: Setup, name: str, **more) -> Loaded:
    def run(times: int):
        with (setup.folder / "calls").open("a") as calls:
            calls.write(name * times)

    return lambda: Work(run, setup.batch, **more)


def first(setup: Setup) -> Loaded:
    return _noted(setup, "a", output=np.array([1.0, 2.0]), flops=10**9)


def second(setup: Setup) -> Loaded:
    return _noted(setup, "b", output=np.array([1.0, 2.5]))


def yardstick(setup: Setup) -> Loaded:
    return _noted(setup, "m")


def missing(setup: Setup) -> Loaded:
    raise UnavailableError("nobody installed it")


def dies(setup: Setup) -> Loaded:
    os._exit(7)


def breaks_later(setup: Setup) -> Loaded:
    done = 0

    def run(times: int):
        nonlocal done
        done += 1
        if done > 1:
            raise ValueError("no more\nof it")

    return lambda: Work(run, setup.batch)


def hungry(setup: Setup) -> Loaded:
    """Three quarters of a gibibyte to start, a quarter in every call."""

    def take(size: int):
        np.ones(size, np.uint8)

    def start() -> Work:
        take(3 * GIBIBYTE // 4)
        return Work(lambda times: take(GIBIBYTE // 4), setup.batch)

    return start
