"""Procedural faces: aligned "photographs" of people who do not exist, made without any data.

A face is painted back to front: background, back hair, neck and clothes, ears, the head with
its light and skin, eyes, brows, nose, mouth, front hair, and last the camera. All positions are
fractions of the crop, so that one identity is the same person at every size.
"""

import functools
import math

import cv2
import numpy as np
from jaxtyping import Float32

from rffr_jax.images.alignment import AlignedFace
from rffr_jax.synthetic.canvas import CIRCLE, Canvas, between_lines, move_down, smooth_noise
from rffr_jax.synthetic.person import (
    ALONG,
    OUTWARD,
    Person,
    brows,
    coarse_generator,
    eyelids,
    head_outline,
    lips,
)

_RELIEF = 40  # cells on a side of the grid on which a head's relief is lit


def render_face(seed: int, identity: int, size: int) -> AlignedFace:
    """The portrait of one procedural person.

    Args:
      seed: which world of people.
      identity: which person of it; everything in the picture is a function of these two.
      size: side in pixels, at least 32.

    Returns:
      An RGB float image in [0, 1] and the five landmarks.
    """
    rng = coarse_generator(seed, identity)
    fine = np.random.default_rng(np.random.SeedSequence([seed, identity, 0xF1CE]))
    person = Person(rng)
    canvas = Canvas(_background(rng, size))
    strands = _strands(fine, size, person)

    _paint_back_hair(canvas, person, strands)
    _paint_body(canvas, person, rng, fine)
    _paint_head(canvas, person, rng, fine)
    _paint_eyes(canvas, person)
    _paint_brows(canvas, person, rng)
    _paint_nose(canvas, person)
    _paint_mouth(canvas, person)
    _paint_front_hair(canvas, person, strands)
    if person.glasses:
        _paint_glasses(canvas, person)
    image = _photograph(canvas.image, rng, fine)
    return AlignedFace(image, (person.landmarks * size - 0.5).astype(np.float32))


def _muted(rng: np.random.Generator) -> np.ndarray:
    """A colour of a wall or a cloth: any brightness, seldom strong."""
    return np.clip(rng.uniform(0.06, 0.92) + rng.normal(0, rng.uniform(0.02, 0.16), 3), 0, 1)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A room or a street out of focus: a gradient, some surfaces, blotches of colour."""
    side = 32
    start, end = _muted(rng)[:, None, None], _muted(rng)[:, None, None]
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, side), np.linspace(-0.5, 0.5, side))
    ramp = (0.5 + 0.7 * (x * math.cos(angle) + y * math.sin(angle))).clip(0, 1)
    canvas = Canvas((start + ramp * (end - start)).astype(np.float32))
    for _ in range(rng.integers(0, 5)):
        corner, extent = rng.uniform(-0.05, 0.8, 2), rng.uniform(0.2, 0.7, 2)
        box = corner + extent * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
        box = box + rng.normal(0, 0.03, (4, 2))
        canvas.fill(box, _muted(rng), opacity=rng.uniform(0.2, 0.8))
    focus = rng.uniform(0.3, 1.2)
    soft = [cv2.GaussianBlur(plane, (0, 0), focus) for plane in canvas.image]
    large = [cv2.resize(plane, (size, size), interpolation=cv2.INTER_CUBIC) for plane in soft]
    return np.stack(large) + 0.03 * smooth_noise(rng, size, (9, 23), 0.7)


@functools.lru_cache(maxsize=4)
def _polar(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Angle about the crown in turns (0 below, 0.5 above), and distance, at every pixel."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = axis[None, :] - 0.5, axis[:, None] - 0.2
    return np.arctan2(x, y) / (2 * np.pi) + 0.5, np.hypot(x, y)


def _strands(rng: np.random.Generator, size: int, person: Person) -> np.ndarray:
    """Hair as a picture: strands run outwards from the parting, in bundles of like brightness."""
    angle, distance = _polar(size)
    angle = angle + person.parting * (0.4 - distance)
    if person.curl > 0.02:
        angle = angle + 0.4 * person.curl * np.sin(distance * (160 * person.curl + 30))
    light = np.zeros((size, size), np.float32)
    for count, rings, weight in ((24, 3, 0.10), (90, 5, 0.13), (260, 7, 0.12)):
        grid = rng.standard_normal((rings, count), np.float32) * np.float32(weight)
        across = (angle * (count - 1)).astype(np.float32)
        along = (distance * (rings / 0.8)).astype(np.float32)
        light += cv2.remap(grid, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    sheen = 0.25 * np.exp(-(((distance - 0.12) / 0.06) ** 2)) - 0.35 * distance
    colour = person.hair.astype(np.float32)[:, None, None]
    return colour * (1.1 + 1.6 * light + sheen) + 0.03 * light


def _curtain(half: float) -> np.ndarray:
    """Long hair below the eyes: from `half` left of the middle to `half` right of it."""
    return np.array([[0.5 - half, 0.5], [0.5 + half, 0.5], [0.5 + half, 1.1], [0.5 - half, 1.1]])


def _paint_back_hair(canvas: Canvas, person: Person, strands: np.ndarray) -> None:
    if person.bald or not person.long_hair:
        return
    half = person.width + person.hair_volume + 0.03
    outline = head_outline(person, person.hair_volume + 0.02)
    outline[outline[:, 1] > 0.55, 1] = 1.05
    outline[:, 0] = 0.5 + np.clip(outline[:, 0] - 0.5, -half, half)
    canvas.fill(outline, strands * 0.75, blur=0.006)
    canvas.fill(_curtain(half), strands * 0.75, blur=0.01)


def _paint_body(canvas: Canvas, person: Person, rng, fine) -> None:
    size = canvas.size
    cloth = _muted(rng).astype(np.float32)
    weave = 0.05 * smooth_noise(fine, size, (12, 40, 90), 0.8)
    if rng.random() < 0.4:
        stripes = np.sin(np.linspace(0, rng.uniform(60, 160), size))
        weave += 0.08 * stripes.astype(np.float32)
    shoulder = rng.uniform(0.9, 0.96)
    neck = 0.62 * person.width
    left, right = 0.5 - neck, 0.5 + neck
    body = [
        [-0.1, 1.2], [-0.1, 1.02], [0.1, shoulder + 0.04], [left, shoulder - 0.05],
        [0.5, shoulder + 0.05], [right, shoulder - 0.05], [0.9, shoulder + 0.04], [1.1, 1.02],
        [1.1, 1.2],
    ]  # fmt: skip
    throat = [[left, 0.7], [right, 0.7], [right + 0.02, 1.1], [left - 0.02, 1.1]]
    canvas.fill(np.array(throat), person.skin * 0.62, blur=0.004)
    canvas.fill(np.array(body), cloth[:, None, None] + weave, blur=0.003)


def _relief(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse and glossy light on the head, from the slopes of a relief of bumps."""
    axis = (np.arange(_RELIEF, dtype=np.float32) + 0.5) / _RELIEF
    squared = ((axis[None] - 0.5 - person.turn / 2) / (person.width * 1.12)) ** 2 + (
        (axis[:, None] - 0.5) / 0.5
    ) ** 2
    height = 0.2 * np.sqrt(np.maximum(1 - squared, 0.03))

    left_eye, right_eye, nose, left_mouth, right_mouth = person.landmarks
    mouth = (left_mouth + right_mouth) / 2
    bridge = (left_eye + right_eye) / 2
    bumps = [  # x, y, width, height, amount
        ((nose[0] + bridge[0]) / 2, nose[1] - 0.07, 0.018, 0.06, 0.022),
        (nose[0], nose[1], 0.024, 0.022, 0.028),
        (mouth[0], mouth[1], 0.06, 0.03, 0.014),
        (mouth[0], mouth[1] + 0.055, 0.04, 0.014, -0.008),
        (mouth[0], person.chin - 0.06, 0.04, 0.035, 0.014),
    ]
    for side, eye, corner in ((-1, left_eye, left_mouth), (1, right_eye, right_mouth)):
        bumps += [
            (nose[0] + side * person.nose_width, nose[1] + 0.015, 0.014, 0.014, 0.012),
            (eye[0], eye[1], 0.045, 0.024, -0.02),
            (eye[0], eye[1] - 0.06, 0.055, 0.02, 0.012),
            (eye[0] + side * 0.03, eye[1] + 0.13, 0.05, 0.045, 0.018),
            (corner[0] + side * 0.02, corner[1], 0.014, 0.02, -0.006),
        ]
    x, y, wide, tall, amount = np.array(bumps, np.float32).T[..., None]
    across = amount * np.exp(-0.5 * ((axis - x) / wide) ** 2)
    height += np.exp(-0.5 * ((axis - y) / tall) ** 2).T @ across
    slope_y, slope_x = np.gradient(height, 1 / _RELIEF)
    normal = np.stack([-slope_x, -slope_y, np.ones_like(height)])
    normal /= np.linalg.norm(normal, axis=0)
    diffuse = np.tensordot(person.light, normal, 1).clip(0)
    halfway = person.light + [0, 0, 1]
    gloss = np.tensordot(halfway / np.linalg.norm(halfway), normal, 1).clip(0) ** 24
    lit = person.ambient + (1.12 - person.ambient) * diffuse
    return lit.astype(np.float32), gloss.astype(np.float32)


def _paint_head(canvas: Canvas, person: Person, rng, fine) -> None:
    size = canvas.size
    diffuse, gloss = (
        cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC) for part in _relief(person)
    )
    mottle = smooth_noise(rng, size, (9, 21), 0.8)
    grain = smooth_noise(fine, size, (48, 96, 180), 0.85)
    light = diffuse * (1 + 0.018 * mottle + 0.03 * grain)
    skin = person.skin.astype(np.float32)[:, None, None] * light
    skin += np.float32(person.gloss) * gloss * (1 + 0.15 * grain)
    flush = np.array([0.012, -0.003, -0.004], np.float32)
    skin += flush[:, None, None] * (mottle * diffuse)

    sides = np.array([-1, 1])[:, None, None] * [person.width + 0.004, 0]
    ears = np.array([0.5 + person.turn / 2, 0.53]) + sides
    canvas.fill(ears + CIRCLE * [0.026, 0.06], person.skin * 0.75, blur=0.002)
    canvas.fill(ears + CIRCLE * [0.012, 0.036], person.skin * 0.5, blur=0.006)
    outline = head_outline(person)
    canvas.fill(outline + [0, 0.03], person.skin * 0.4, blur=0.02, opacity=0.6)
    canvas.fill(outline, skin, blur=0.0025)

    spots = rng.uniform([0.29, 0.3], [0.71, 0.85], (person.freckles, 1, 2))
    radius = rng.uniform(0.0015, 0.004, (person.freckles, 1, 1))
    canvas.fill(spots + radius * CIRCLE[::3], person.skin * [0.6, 0.45, 0.38], opacity=0.4)
    _paint_creases(canvas, person)
    if person.beard:
        _paint_beard(canvas, person, fine)


def _paint_creases(canvas: Canvas, person: Person) -> None:
    nose, left, right = person.landmarks[2:]
    folds = [
        [nose + [side * (person.nose_width + 0.012), 0.01], mouth + [side * 0.02, -0.05],
         mouth + [side * 0.03, 0]] for side, mouth in ((-1, left), (1, right))
    ]  # fmt: skip
    canvas.lines(np.array(folds), person.skin * 0.6, 0.006, blur=0.006, opacity=0.6)


def _paint_beard(canvas: Canvas, person: Person, fine) -> None:
    outline = head_outline(person)
    mouth = person.landmarks[3:].mean(0)
    lower = outline[outline[:, 1] > mouth[1] - 0.07]
    mask = canvas.mask(lower[np.argsort(np.arctan2(*(lower - mouth).T))], 0.02)
    mask *= 1 - canvas.mask(mouth + CIRCLE * [0.075, 0.025], 0.008)
    hairs = 0.6 + 0.35 * smooth_noise(fine, canvas.size, (110, 200), 1.0)
    canvas.blend(mask * (person.beard * hairs.clip(0, 1)), person.hair * 0.8 + person.skin * 0.08)


def _paint_eyes(canvas: Canvas, person: Person) -> None:
    upper, lower = eyelids(person)
    centres = person.landmarks[:2, None]
    dark = person.skin * 0.35
    canvas.lines(move_down(upper, -0.014), dark, 0.004, blur=0.003, opacity=0.7)
    canvas.lines(move_down(lower, 0.012), dark, 0.004, blur=0.006, opacity=0.45)
    almond = between_lines(upper, lower)
    opening = canvas.mask(almond)
    canvas.fill(almond, [0.86, 0.83, 0.81])
    iris = centres + person.gaze - [0, 0.1 * person.eye_open]
    canvas.fill(iris + 0.02 * CIRCLE, person.iris * 0.45, clip=opening)
    canvas.fill(iris + 0.0165 * CIRCLE, person.iris * 1.1, blur=0.002, clip=opening)
    canvas.fill(iris + 0.008 * CIRCLE, [0.03, 0.03, 0.03], clip=opening)
    canvas.lines(move_down(upper, 0.004), [0.15, 0.1, 0.1], 0.008, 0.003, 0.6, clip=opening)
    glint = iris + [0.006 * np.sign(person.light[0]), -0.007]
    canvas.fill(glint + 0.0045 * CIRCLE, [1.0, 1.0, 1.0], clip=opening)
    canvas.lines(upper, person.hair * 0.3, 0.006, blur=0.001, opacity=0.9)


def _paint_brows(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    line = brows(person)
    thick = person.brow_thick * (1.1 - 0.5 * OUTWARD.clip(0))
    colour = person.hair * 0.6
    shape = between_lines(move_down(line, -thick), move_down(line, thick))
    canvas.fill(shape, colour, blur=0.005, opacity=0.65)
    roots = move_down(np.repeat(line, 2, 1), rng.uniform(-0.008, 0.008, (2, 26)))
    lean = rng.uniform([0.006, -0.016], [0.016, -0.002], (2, 26, 2)) * [[[-1, 1]], [[1, 1]]]
    hairs = np.stack([roots, roots + lean], 2).reshape(-1, 2, 2)
    canvas.lines(hairs, colour * 0.8, 0.003, opacity=0.8)


def _paint_nose(canvas: Canvas, person: Person) -> None:
    tip = person.landmarks[2]
    sides = np.array([-1, 1])[:, None, None]
    nostrils = tip + [0, 0.024] + sides * [0.52 * person.nose_width, 0] + CIRCLE * [0.011, 0.006]
    dark = person.skin * [0.35, 0.27, 0.25]
    canvas.fill(nostrils, dark, blur=0.003, opacity=0.85)
    wing = np.array([[0, -0.006], [0.009, 0.012], [0, 0.027]]) + [person.nose_width, 0]
    canvas.lines(
        tip + np.stack([wing * [-1, 1], wing]), person.skin * 0.5, 0.005, blur=0.003, opacity=0.7
    )
    bottom = tip + np.array([[-0.02, 0.03], [0, 0.034], [0.02, 0.03]])
    canvas.lines(bottom, person.skin * 0.5, 0.005, blur=0.005, opacity=0.6)


def _paint_mouth(canvas: Canvas, person: Person) -> None:
    bulge = 1 - ALONG**2
    top, inner_top, inner_low, low = lips(person)
    canvas.fill(between_lines(top, inner_top), person.lips * 0.8, blur=0.002)
    canvas.fill(between_lines(inner_low, low), person.lips, blur=0.002)
    shine = move_down(inner_low, 0.6 * person.lip_height * bulge)[4:9]
    canvas.lines(shine, person.lips * 1.3 + 0.05, 0.006, blur=0.004, opacity=0.5)
    creases = np.stack([inner_low, low], 1)[2:-2]
    canvas.lines(creases, person.lips * 0.6, 0.002, opacity=0.5)
    canvas.lines(move_down(low, 0.008), person.skin * 0.5, 0.006, blur=0.006, opacity=0.5)
    if not person.mouth_open:
        canvas.lines(inner_top, person.lips * 0.35, 0.006, blur=0.0015, opacity=0.9)
        return
    gap = between_lines(inner_top, inner_low)
    inside = canvas.mask(gap)
    canvas.fill(gap, [0.18, 0.06, 0.06])
    teeth = between_lines(inner_top, 0.35 * inner_top + 0.65 * inner_low)
    canvas.fill(teeth, [0.88, 0.86, 0.8], clip=inside)
    joints = np.stack([inner_top, inner_low], 1)[3:-3]
    canvas.lines(joints, [0.5, 0.42, 0.4], 0.002, opacity=0.6, clip=inside)


def _paint_front_hair(canvas: Canvas, person: Person, strands: np.ndarray) -> None:
    if person.bald:
        return
    outline = head_outline(person, person.hair_volume)
    end = 1.1 if person.long_hair else 0.5
    outline[:, 1] = np.minimum(outline[:, 1], end)
    if person.long_hair:
        half = person.width + person.hair_volume
        mask = np.maximum(canvas.mask(outline, 0.005), canvas.mask(_curtain(half), 0.005))
    else:
        mask = canvas.mask(outline, 0.006)
    angle = np.linspace(0, np.pi, 40)
    ragged = 0.008 * np.sin(angle * 23 + 40 * person.curl) + 0.01 * np.sin(angle * 9)
    half = person.width * (0.93 if person.long_hair else 0.99)
    x = 0.5 + person.turn / 2 - half * np.cos(angle)
    rise = (0.5 - person.hairline) * np.sin(angle) ** 0.6
    y = 0.5 - rise + ragged + 0.5 * person.parting * np.cos(angle) * np.sin(angle)
    below = [[0.5 + half * 0.9, 1.1], [0.5 - half * 0.9, 1.1]]
    opening = np.concatenate([np.stack([x, y], 1), below])
    canvas.blend(mask * (1 - canvas.mask(opening, 0.006)), strands)


def _paint_glasses(canvas: Canvas, person: Person) -> None:
    frame = person.hair * 0.3
    left, right = person.landmarks[:2]
    rims = CIRCLE * [0.075, 0.056] + np.stack([left, right])[:, None] + [0, 0.008]
    canvas.lines(rims, frame, 0.009, opacity=0.95, closed=True)
    bars = np.array([
        [left + [0.073, 0], right - [0.073, 0]],
        [left - [0.075, 0], [0.5 - person.width, 0.47]],
        [right + [0.075, 0], [0.5 + person.width, 0.47]],
    ])  # fmt: skip
    canvas.lines(bars, frame, 0.009, opacity=0.95)


def _photograph(
    planes: np.ndarray, rng: np.random.Generator, fine: np.random.Generator
) -> Float32[np.ndarray, "size size 3"]:
    """White balance, exposure, a slightly soft lens, and the noise of a sensor."""
    size = planes.shape[1]
    gain = rng.normal(1, 0.03, 3) * rng.uniform(0.88, 1.1)
    softness = rng.uniform(0.0008, 0.0028) * size
    noise_level = rng.uniform(0.008, 0.024)
    image = cv2.merge(list(planes * gain.astype(np.float32)[:, None, None]))
    if softness > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), softness)
    image = np.clip(image, 0, 1)
    noise = fine.standard_normal((size, size, 3), np.float32)
    noise *= np.float32(0.6 * noise_level) * (1 + image)
    return np.clip(image + noise, 0, 1)
