"""The face that is followed among several."""

import numpy as np
import pytest

from rffr_jax.faces.face import Face
from rffr_jax.faces.tracking import follow, intersection_over_union


def face(left: float, top: float, width: float, height: float | None = None) -> Face:
    box = np.array([left, top, left + width, top + (height or width)], np.float32)
    return Face(box, np.zeros((5, 2), np.float32), 0.9)


def test_intersection_over_union_against_counted_pixels():
    random = np.random.default_rng(0)
    values = []
    for corners in random.integers(0, 30, (60, 2, 2, 2)):
        low, high = corners.min(1), corners.max(1) + 1
        grids = np.zeros((2, 32, 32), bool)
        for grid, (left, top), (right, bottom) in zip(grids, low, high, strict=True):
            grid[top:bottom, left:right] = True
        expected = (grids[0] & grids[1]).sum() / (grids[0] | grids[1]).sum()
        boxes = np.concatenate([low, high], 1).astype(np.float32)
        values.append(intersection_over_union(boxes[0], boxes[1]))
        assert values[-1] == pytest.approx(expected)
    assert min(values) == 0 < max(values)


def test_biggest_face_of_a_photograph():
    faces = [face(0, 0, 50), face(100, 0, 80), face(200, 0, 60)]
    assert follow([faces]) == [faces[1]]
    assert follow([faces[::-1]]) == [faces[1]]
    assert follow([]) == []
    assert follow([[], []]) == [None, None]


def test_face_is_followed_through_time_whatever_the_order_of_detection():
    random = np.random.default_rng(1)
    big = [face(10 + 12 * t, 20 + 3 * t, 80 + t) for t in range(12)]
    small = [face(300 - 8 * t, 40, 60) for t in range(12)]
    frames = [[a, b] if random.random() < 0.5 else [b, a] for a, b in zip(big, small, strict=True)]
    assert follow(frames) == big


def test_longest_track_beats_a_bigger_face_that_passes():
    stays = [face(10, 10, 60) for _ in range(10)]
    passes = face(200, 10, 100)
    frames = [[one] for one in stays]
    frames[4] = [passes, stays[4]]
    assert follow(frames) == stays
    frames[4] = [passes]
    assert follow(frames) == [*stays[:4], None, *stays[5:]]


def test_faces_that_come_close_are_told_apart_by_the_larger_overlap():
    # Both faces overlap both tracks; the nearer pairs must be joined.
    left = [face(0, 0, 100), face(30, 0, 100)]
    right = [face(60, 0, 90), face(70, 0, 90)]
    assert follow([[left[0], right[0]], [right[1], left[1]]]) == left


def test_face_that_overlaps_less_starts_a_track_of_its_own():
    first, same, other = face(0, 0, 100), face(5, 0, 100), face(40, 0, 90)
    for second in ([same, other], [other, same]):
        assert follow([[first], second]) == [first, same]


def test_track_ends_where_the_scene_changes():
    before = [face(0, 0, 60) for _ in range(3)]
    after = [face(300, 100, 60) for _ in range(5)]
    frames = [[one] for one in before + after]
    assert follow(frames) == [None] * 3 + after


def test_small_faces_are_not_taken():
    assert follow([[face(0, 0, 31.9)]]) == [None]
    assert follow([[face(0, 0, 200, 31)]]) == [None]
    tiny = face(0, 0, 12)
    assert follow([[tiny]], 12) == [tiny]
    big = face(50, 50, 64)
    assert follow([[tiny, big], [tiny]], min_side=40) == [big, None]


def test_equal_faces_give_the_first():
    faces = [face(0, 0, 50), face(100, 0, 50)]
    assert follow([faces, faces[::-1]])[0] is faces[0]
