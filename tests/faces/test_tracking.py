"""The face that is followed among several."""

import numpy as np

from rffr_jax.faces.face import Face
from rffr_jax.faces.tracking import find_tracks


def follow_main_face(frames):
    """The face of the first track in each frame, None where it is not to be seen."""
    tracks = find_tracks(frames, join_far=True)
    return [tracks[0].get(number) if tracks else None for number in range(len(frames))]


def face(left: float, top: float, width: float, height: float | None = None) -> Face:
    box = np.array([left, top, left + width, top + (height or width)], np.float32)
    return Face(box, np.zeros((5, 2), np.float32), 0.9)


def shuffled(seed: int, *people: list[Face]) -> list[list[Face]]:
    """The frames of people who are all there, in a detector's arbitrary order."""
    random = np.random.default_rng(seed)
    frames = [list(there) for there in zip(*people, strict=True)]
    for there in frames:
        random.shuffle(there)  # type: ignore[arg-type]
    return frames


def test_biggest_face_of_a_photograph():
    faces = [face(0, 0, 50), face(100, 0, 80), face(200, 0, 60)]
    assert follow_main_face([faces]) == [faces[1]]
    assert follow_main_face([faces[::-1]]) == [faces[1]]
    assert follow_main_face([]) == []
    assert follow_main_face([[], []]) == [None, None]


def test_equal_faces_give_the_first():
    faces = [face(0, 0, 50), face(100, 0, 50)]
    assert follow_main_face([faces, faces[::-1]])[0] is faces[0]


def test_face_is_followed_through_time_whatever_the_order_of_detection():
    big = [face(10 + 12 * t, 20 + 3 * t, 80 + t) for t in range(12)]
    small = [face(300 - 8 * t, 40, 60) for t in range(12)]
    assert follow_main_face(shuffled(1, big, small)) == big


def test_person_who_moves_by_nearly_a_face_a_frame_keeps_every_frame():
    for dx, dy in ((90, 0), (0, -90), (60, 65)):
        one = [face(500 + t * dx, 900 + t * dy, 100) for t in range(9)]
        assert follow_main_face([[there] for there in one]) == one


def test_person_who_moves_is_followed_and_not_the_smaller_one_who_stands_still():
    moves = [face(10 + 90 * t, 40, 100) for t in range(9)]
    stands = [face(420, 60, 60) for _ in range(9)]
    for seed in range(5):
        assert follow_main_face(shuffled(seed, moves, stands)) == moves


def test_two_people_who_cross_are_not_taken_for_each_other():
    to_the_right = [face(10 + 40 * t, 40, 100) for t in range(11)]
    for height, side in ((40, 60), (120, 95)):  # farther away, or lower
        to_the_left = [face(410 - 40 * t, height, side) for t in range(11)]
        for seed in range(5):
            assert follow_main_face(shuffled(seed, to_the_right, to_the_left)) == to_the_right


def test_longest_track_beats_a_bigger_face_that_passes():
    stays = [face(10, 10, 60) for _ in range(10)]
    passes = face(200, 10, 130)
    frames = [[one] for one in stays]
    frames[4] = [passes, stays[4]]
    assert follow_main_face(frames) == stays
    frames[4] = [passes]
    assert follow_main_face(frames) == [*stays[:4], None, *stays[5:]]


def test_faces_that_come_close_are_told_apart_by_the_smaller_distance():
    left = [face(0, 0, 100), face(30, 0, 100)]
    right = [face(60, 0, 90), face(70, 0, 90)]
    assert follow_main_face([[left[0], right[0]], [right[1], left[1]]]) == left


def test_nearer_of_two_faces_goes_on_and_the_other_begins():
    first, same, other = face(0, 0, 100), face(5, 0, 100), face(40, 0, 90)
    for second in ([same, other], [other, same]):
        assert follow_main_face([[first], second]) == [first, same]


def test_track_waits_over_frames_without_its_face():
    one = [face(10 + 30 * t, 40, 80) for t in range(8)]
    bystander = [face(600, 40, 50) for _ in range(8)]
    frames = shuffled(3, one, bystander)
    for gone in (2, 3, 4):
        frames[gone] = [bystander[gone]]
    frames[6] = []
    assert follow_main_face(frames) == [
        None if number in (2, 3, 4, 6) else there for number, there in enumerate(one)
    ]


def test_what_remains_is_joined_however_far_it_went():
    far = [face(10, 40, 80), face(700, 40, 90), face(15, 300, 85)]
    assert follow_main_face([[one] for one in far]) == far
    stands = [face(400, 200, 70) for _ in far]
    assert follow_main_face(shuffled(4, far, stands)) == far


def test_far_face_is_another_one_where_two_might_be_meant():
    two = [face(10, 40, 80), face(200, 40, 60)]
    far = face(900, 40, 70)
    assert follow_main_face([two, two, [far]]) == [two[0], two[0], None]


def test_two_people_are_followed_up_to_two_faces_a_frame_and_no_farther():
    for step, followed in ((190, 5), (210, 1)):
        one = [face(step * t, 40, 100) for t in range(5)]
        other = [face(step * t, 900, 80) for t in range(5)]
        there = follow_main_face(shuffled(5, one, other))
        assert [face for face in there if face is not None] == one[:followed]


def test_face_of_another_size_is_another_one():
    first = face(100, 100, 80)
    for other in (face(110, 110, 38), face(60, 60, 164)):
        assert follow_main_face([[first], [other]]) in ([first, None], [None, other])
    for other in (face(110, 110, 42), face(60, 60, 156)):
        assert follow_main_face([[first], [other]]) == [first, other]


def test_people_of_alternating_shots_are_two_unless_far_faces_are_joined():
    one, other = face(100, 100, 200), face(1500, 100, 210)
    shots = [[one], [one], [other], [other], [one], [one], [other], [other]]
    assert [list(track) for track in find_tracks(shots, join_far=True)] == [list(range(8))]
    apart = find_tracks(shots, join_far=False)
    assert [list(track) for track in apart] == [[2, 3, 6, 7], [0, 1, 4, 5]]
