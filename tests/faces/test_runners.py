"""Worker processes."""

import os
import signal

import pytest

from rffr_jax.errors import UserError
from rffr_jax.faces.runners import Task, Work, process_runner
from tests.faces.test_prepare import medium, settings

pytestmark = pytest.mark.usefixtures("bright_squares")


class FrailWork(Work):
    """Its process dies at one medium."""

    def prepare(self, task: Task) -> str:
        if task.medium.id == "real/a":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(task)


def test_worker_that_dies_is_told_with_what_it_was_at(tmp_path):
    media = []
    for name in ("x", "a", "z"):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(b"no video")
        media.append(medium(path, f"real/{name}"))
    tasks = [Task(one, None) for one in media]
    work = FrailWork(tmp_path / "parts", settings())
    with pytest.raises(UserError) as caught:
        list(process_runner(1)(work, tasks))
    assert str(caught.value).startswith("a worker process died, at work on real/a (out of memory")
    assert "\n" not in str(caught.value)
    assert [work.done(task) for task in tasks] == [True, False, False]


class LightWork(Work):
    """Notes what it prepares, by files of its folder."""

    def prepare(self, task: Task) -> str:
        (self.folder / task.medium.id).touch()
        return task.medium.id


class CountedTasks(list):
    """Notes how many tasks were taken from it."""

    taken = 0

    def __iter__(self):
        for task in super().__iter__():
            self.taken += 1
            yield task


def test_tasks_wait_in_a_short_queue_and_are_all_done_once(tmp_path):
    count = 200
    tasks = CountedTasks(Task(medium(tmp_path / "x", f"{i}"), None) for i in range(count))
    done = []
    for id_ in process_runner(2)(LightWork(tmp_path, settings()), tasks):
        done.append(id_)
        ahead = tasks.taken - len(done)
        assert ahead <= 2 * 2 * 16
        if len(done) == 1:
            assert ahead >= 16
    assert sorted(done) == sorted(str(i) for i in range(count))
    assert len(list(tmp_path.iterdir())) == count
    assert list(process_runner(2)(LightWork(tmp_path, settings()), [])) == []
