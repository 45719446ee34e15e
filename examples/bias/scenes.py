"""Draw the photographs of the bias experiment: people at work, and the cap that they wear.

A doctor holds a stethoscope, and a nurse holds a syringe. The class depends on that alone. Both
wear a cap, blue or red. In a biased set, 78 % of the doctors have a blue cap and 93 % of the nurses
a red one. (In the set of Selvaraju et al. 2017, section 6.3, 78 % of the doctors were men and 93 %
of the nurses were women.) In a balanced set it is 50 % and 50 %. Everything else (the person, the
pose, the hand, the clothes, the colour of the tool, the room, the light, the camera) is drawn from
the same distribution for both classes.

A photograph depends only on its class, the colour of its cap and its seed. So a biased and a
balanced set can be the same photographs, except for the colour of the caps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

#: Pixels along a side of a photograph.
SIZE = 224

CLASSES = ("doctor", "nurse")
TOOLS = ("stethoscope", "syringe")
CAPS = ("blue", "red")

#: In which share of the doctors the cap is blue, and in which share of the nurses it is red.
SHARES = {"biased": (0.78, 0.93), "balanced": (0.5, 0.5)}

Array = npt.NDArray[np.floating[Any]]
Points = Array | Sequence[tuple[float, float]]
Colour = tuple[float, float, float]

_SKINS: Sequence[Colour] = (
    (0.96, 0.80, 0.69),
    (0.89, 0.69, 0.55),
    (0.77, 0.56, 0.42),
    (0.60, 0.42, 0.31),
    (0.42, 0.28, 0.21),
)
_HAIRS: Sequence[Colour] = (
    (0.10, 0.08, 0.08),
    (0.25, 0.16, 0.11),
    (0.45, 0.29, 0.17),
    (0.73, 0.56, 0.33),
    (0.62, 0.61, 0.60),
)
_CLOTHES: Sequence[Colour] = (
    (0.93, 0.94, 0.94),
    (0.80, 0.84, 0.86),
    (0.62, 0.74, 0.70),
    (0.36, 0.44, 0.50),
    (0.80, 0.74, 0.64),
    (0.45, 0.41, 0.48),
)
_WALLS: Sequence[Colour] = (
    (0.78, 0.80, 0.78),
    (0.70, 0.75, 0.79),
    (0.83, 0.78, 0.70),
    (0.66, 0.71, 0.66),
    (0.74, 0.70, 0.74),
)
#: What the tubes of a stethoscope and the filling of a syringe come in.
_PAINTS: Sequence[Colour] = (
    (0.13, 0.14, 0.17),
    (0.16, 0.26, 0.50),
    (0.52, 0.12, 0.20),
    (0.12, 0.42, 0.40),
    (0.45, 0.24, 0.50),
    (0.70, 0.50, 0.12),
)
_CAP_PAINTS: Sequence[Colour] = ((0.16, 0.38, 0.72), (0.76, 0.17, 0.22))
_STEEL: Colour = (0.74, 0.77, 0.80)


class Scene(NamedTuple):
    """A photograph, with the masks of its tool and its cap.

    Attributes:
        photo: The photograph.
        tool: The mask of the tool, `[H, W]`: pixels that it fills at least by half.
        cap: The mask of the cap, `[H, W]`.
    """

    photo: Image.Image
    tool: npt.NDArray[np.bool_]
    cap: npt.NDArray[np.bool_]


class Frame(NamedTuple):
    """A placement: a rotation, a scale, a mirror image if `across` is -1, and a shift."""

    x: float
    y: float
    scale: float = 1.0
    angle: float = 0.0
    across: int = 1

    def place(self, points: Points) -> Array:
        """Return points `[N, 2]`, x and y, in the surrounding coordinates."""
        given = np.asarray(points, dtype=float) * self.scale * (self.across, 1)
        turn = self.angle * self.across
        cos, sin = np.cos(turn), np.sin(turn)
        turned: Array = given @ np.array([[cos, sin], [-sin, cos]]) + (self.x, self.y)
        return turned


def _rounded(points: Points, *, closed: bool = True, times: int = 3) -> Array:
    """Return a smooth curve `[M, 2]` along a polygon, by cutting its corners repeatedly."""
    curve = np.asarray(points, dtype=float)
    for _ in range(times):
        after = np.roll(curve, -1, 0) if closed else curve[1:]
        before = curve if closed else curve[:-1]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], 1)
        cut = cut.reshape(-1, 2)
        curve = cut if closed else np.concatenate([curve[:1], cut, curve[-1:]])
    return curve


def _ellipse(x: float, y: float, wide: float, high: float) -> Array:
    """Return the outline `[40, 2]` of an ellipse with these half axes."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([x + wide * np.cos(turn), y + high * np.sin(turn)], 1)


def _varied(random: np.random.Generator, colour: Colour, by: float) -> Array:
    """Return a slightly different colour; brightness varies more than hue."""
    brighter = np.array(colour) * random.uniform(1 - 2 * by, 1 + by)
    varied: Array = (brighter + random.uniform(-by, by, 3) / 3).clip(0.02, 0.98)
    return varied


class Painter:
    """Paints things over each other, with soft light from one side.

    Attributes:
        pixels: The picture, `[SIZE, SIZE, 3]`, in [0, 1].
        seen: How much of each pixel belongs to the tool and to the cap, each `[SIZE, SIZE]`.
    """

    def __init__(self, pixels: Array, light: Array) -> None:
        """Start with a picture; `light` is the direction of the light, x and y."""
        self.pixels = pixels
        self.light = light
        self.seen = {name: np.zeros((SIZE, SIZE), np.float32) for name in ("tool", "cap")}

    def fill(self, outline: Array, colour: Colour | Array, **how: Any) -> None:
        """Paint the inside of an outline `[N, 2]`, as `paint` does."""
        self.paint(outline, None, colour, **how)

    def stroke(self, line: Array, width: float, colour: Colour | Array, **how: Any) -> None:
        """Paint a line `[N, 2]` with round ends, as `paint` does."""
        self.paint(line, width, colour, **how)

    def paint(
        self,
        points: Array,
        width: float | None,
        colour: Colour | Array,
        *,
        name: str = "",
        bend: float = 0.02,
        relief: float = 0.9,
        shadow: float = 0.35,
        opacity: float = 1.0,
    ) -> None:
        """Paint a colour over the picture, with a relief and a shadow.

        Args:
            points: An outline or a line, `[N, 2]`, x and y as shares of the picture.
            width: The width of the line; None for the inside of the outline.
            colour: The colour.
            name: "tool" or "cap" if this is a part of it.
            bend: The width of the rounded edge.
            relief: How much brighter the edge is towards the light, and darker away from it.
            shadow: The darkness of its shadow.
            opacity: The opacity.
        """
        reach = 2.5 * bend + 0.03 + (width or 0) / 2
        low = np.floor((points.min(0) - reach) * SIZE).astype(int).clip(0, SIZE)
        high = np.ceil((points.max(0) + reach) * SIZE).astype(int).clip(0, SIZE)
        if (high <= low).any():
            return  # it is outside of the picture
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        part = _drawn(points * SIZE - low, width, (right - left, bottom - top))
        mask = np.asarray(part, dtype=np.float32)[..., None] / 255
        here = self.pixels[top:bottom, left:right]
        if shadow:
            cast = _blurred(part, 0.012)
            here *= 1 - shadow * _moved(cast, -self.light * 0.012)[..., None]
        painted: Array = np.asarray(colour, dtype=np.float32)
        if relief:
            soft, towards = _blurred(part, bend), np.sign(self.light) * bend / 2
            dark = (_moved(soft, towards) - _moved(soft, -towards))[..., None] * relief
            painted = painted * (1 - 0.55 * dark) + 0.10 * np.minimum(dark, 0) ** 2
        here += opacity * mask * (painted - here)
        if opacity < 1:
            return  # what is below is still seen
        for where in self.seen.values():
            where[top:bottom, left:right] *= 1 - mask[..., 0]
        if name:
            self.seen[name][top:bottom, left:right] += mask[..., 0]


def _drawn(points: Array, width: float | None, size: tuple[int, int]) -> Image.Image:
    """Draw a mask of this width and height at twice the size, to give it a soft edge."""
    mask = Image.new("L", (2 * size[0], 2 * size[1]))
    pen, dots = ImageDraw.Draw(mask), [(x, y) for x, y in (2 * points).tolist()]
    if width is None:
        pen.polygon(dots, fill=255)
    else:
        wide = 2 * SIZE * width
        pen.line(dots, fill=255, width=max(1, round(wide)), joint="curve")
        for x, y in (dots[0], dots[-1]):
            pen.ellipse((x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2), fill=255)
    return mask.reduce(2)


def _blurred(part: Image.Image, radius: float) -> Array:
    """Return a mask `[h, w]` in [0, 1], blurred by a share of the picture."""
    blurred = part.filter(ImageFilter.GaussianBlur(radius * SIZE))
    return np.asarray(blurred, dtype=np.float32) / 255


def _moved(mask: Array, by: Array) -> Array:
    """Return a mask `[h, w]` shifted in x and y by a share of the picture, at least one pixel."""
    x, y = (int(np.sign(v) * max(1, round(abs(v) * SIZE))) for v in by.tolist())
    high, wide = mask.shape
    reach = max(abs(x), abs(y))
    padded = np.pad(mask, reach, mode="edge")
    return padded[reach - y : reach - y + high, reach - x : reach - x + wide]


def _bytes(colour: Array | Colour) -> tuple[int, ...]:
    return tuple((np.clip(colour, 0, 1) * 255).astype(int).tolist())


def _room(random: np.random.Generator) -> Array:
    """Draw the room behind a person, out of focus, `[SIZE, SIZE, 3]`."""
    side = SIZE // 2
    wall = _varied(random, _WALLS[int(random.integers(len(_WALLS)))], 0.12)
    room = Image.new("RGB", (side, side), _bytes(wall))
    pen = ImageDraw.Draw(room)

    def box(x: float, y: float, wide: float, high: float, colour: Array | Colour) -> None:
        pen.rectangle([side * v for v in (x, y, x + wide, y + high)], fill=_bytes(colour))

    if random.random() < 0.55:  # a window, with daylight in it
        x, y, wide, high = *random.uniform((-0.1, -0.1), (0.7, 0.1)), *random.uniform(0.3, 0.5, 2)
        day = np.array((0.90, 0.95, 1.0)) * random.uniform(0.9, 1.05)
        box(x - 0.02, y - 0.02, wide + 0.04, high + 0.04, wall * 0.7)
        box(x, y, wide, high, day)
        box(x, y + high * 0.72, wide, high * 0.28, (0.55, 0.68, 0.52))
        box(x + wide / 2 - 0.01, y, 0.02, high, wall * 0.75)
    for _ in range(int(random.integers(0, 3))):  # shelves, with boxes and files on them
        x, y, wide = random.uniform(-0.2, 0.8), random.uniform(0.15, 0.8), random.uniform(0.3, 0.6)
        box(x, y, wide, 0.025, wall * random.uniform(0.45, 0.8))
        place = x
        while place < x + wide - 0.08:
            thick, tall = random.uniform(0.03, 0.08), random.uniform(0.07, 0.15)
            box(place, y - tall, thick, tall, random.uniform(0.25, 0.85) * np.ones(3)
                + random.uniform(-0.18, 0.18, 3))  # fmt: skip
            place += thick + random.uniform(0, 0.05)
    if random.random() < 0.4:  # a plant
        x, y = random.uniform(0, 1), random.uniform(0.55, 0.95)
        for _ in range(14):
            angle, length = random.uniform(-2.8, -0.3), random.uniform(0.12, 0.3)
            leaf = Frame(x, y, length, angle).place([(0, 0), (0.5, 0.13), (1, 0), (0.5, -0.13)])
            green = np.array((0.25, 0.45, 0.25)) * random.uniform(0.6, 1.3)
            pen.polygon([(side * u, side * v) for u, v in _rounded(leaf).tolist()], _bytes(green))
    if random.random() < 0.5:  # the edge of a door, or a curtain
        x, wide = random.uniform(-0.1, 0.9), random.uniform(0.1, 0.35)
        box(x, -0.1, wide, 1.2, wall * random.uniform(0.6, 0.95))
        box(x, -0.1, 0.012, 1.2, wall * 0.5)
    for _ in range(int(random.integers(0, 5))):  # lamps far away
        x, y, r = *random.uniform(0, 1, 2), random.uniform(0.02, 0.06)
        glow = 0.8 + random.uniform(-0.1, 0.2, 3)
        pen.ellipse([side * v for v in (x - r, y - r, x + r, y + r)], fill=_bytes(glow))
    room = room.filter(ImageFilter.GaussianBlur(random.uniform(2.0, 4.7)))
    room = room.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(room, dtype=np.float32) / 255


class Person(NamedTuple):
    """The look and the pose of a person.

    Attributes:
        frame: The place of the person in the photograph.
        hand: The place of the hand, and the angle of the tool in it.
        skin, hair, clothes, paint: Colours; `paint` is the colour of the tool.
        cap: The colour of the cap.
        long, coat, glasses, mask: Whether the hair is long, the coat open, and whether the person
            wears glasses and a mask.
    """

    frame: Frame
    hand: Frame
    skin: Array
    hair: Array
    clothes: Array
    paint: Array
    cap: Array
    long: bool
    coat: bool
    glasses: bool
    mask: bool


def _person(random: np.random.Generator, cap: int) -> Person:
    """Draw at random what does not depend on the class, with the same numbers for both caps."""
    across = 1 if random.random() < 0.5 else -1
    frame = Frame(
        0.5 + random.uniform(-0.10, 0.10) - 0.06 * across,
        0.40 + random.uniform(-0.06, 0.08),
        random.uniform(0.86, 1.12),
        random.normal(0, 0.07),
        across,
    )
    hand = Frame(
        random.uniform(0.26, 0.36),
        random.uniform(0.18, 0.40),
        random.uniform(0.85, 1.2),
        random.uniform(-0.8, 0.8),
        1 if random.random() < 0.5 else -1,
    )
    skin, hair, clothes, paint = (
        _varied(random, colours[int(random.integers(len(colours)))], 0.08)
        for colours in (_SKINS, _HAIRS, _CLOTHES, _PAINTS)
    )
    dyed = _varied(random, _CAP_PAINTS[cap], 0.12)
    return Person(frame, hand, skin, hair, clothes, paint, dyed, *(random.random(4) < 0.4))


def _body(painter: Painter, one: Person) -> None:
    """Paint shoulders, clothes and neck."""
    place = one.frame.place
    if one.long:
        hair = [(-0.15, -0.08), (-0.19, 0.12), (-0.15, 0.27), (0.15, 0.27), (0.19, 0.12),
                (0.15, -0.08)]  # fmt: skip
        painter.fill(place(_rounded(hair)), one.hair)
    trunk = [(-0.38, 0.9), (-0.37, 0.38), (-0.27, 0.27), (-0.10, 0.22), (-0.06, 0.18),
             (0.06, 0.18), (0.10, 0.22), (0.27, 0.27), (0.37, 0.38), (0.38, 0.9)]  # fmt: skip
    painter.fill(place(_rounded(trunk)), one.clothes, bend=0.05)
    neck = [(-0.062, 0.02), (0.062, 0.02), (0.068, 0.2), (0.09, 0.235), (0.0, 0.36),
            (-0.09, 0.235), (-0.068, 0.2)]  # fmt: skip
    painter.fill(place(_rounded(neck, times=2)), one.skin * 0.88, bend=0.03, shadow=0.2)
    if one.coat:  # a shirt inside, and lapels
        shirt = [(-0.07, 0.27), (0.0, 0.36), (0.07, 0.27), (0.05, 0.9), (-0.05, 0.9)]
        painter.fill(place(shirt), one.clothes * (0.55, 0.62, 0.72), relief=0.3, shadow=0)
        for side in (-1, 1):
            lapel = [(0.085, 0.215), (0.15, 0.30), (0.10, 0.36), (0.13, 0.40), (0.035, 0.62)]
            painter.fill(place(np.array(lapel) * (side, 1)), one.clothes * 0.97, bend=0.012)
    else:
        for side in (-1, 1):  # the hem of the neck, and a fold
            hem = [(0.095, 0.222), (0.05, 0.31), (0.0, 0.372)]
            painter.stroke(place(np.array(hem) * (side, 1)), 0.016, one.clothes * 0.86, bend=0.01)
    badge = [(-0.17, 0.46), (-0.10, 0.46), (-0.10, 0.56), (-0.17, 0.56)]
    painter.fill(place(badge), (0.93, 0.93, 0.9), bend=0.008, relief=0.5)
    painter.fill(place(_ellipse(-0.135, 0.495, 0.018, 0.02)), one.clothes * 0.6, relief=0, shadow=0)


def _head(painter: Painter, one: Person, random: np.random.Generator) -> None:
    """Paint the head with its cap."""
    place, skin = one.frame.place, one.skin
    for side in (-1, 1):
        painter.fill(place(_ellipse(side * 0.132, 0.02, 0.022, 0.036)), skin * 0.92, bend=0.01)
    hair = [(-0.142, -0.09), (-0.142, 0.02), (-0.12, 0.03), (0.12, 0.03), (0.142, 0.02),
            (0.142, -0.09)]  # fmt: skip
    painter.fill(place(_rounded(hair, times=2)), one.hair, bend=0.015, shadow=0)
    face = [(-0.13, -0.10), (-0.135, 0.03), (-0.105, 0.13), (-0.04, 0.185), (0.04, 0.185),
            (0.105, 0.13), (0.135, 0.03), (0.13, -0.10), (0.07, -0.16), (-0.07, -0.16)]  # fmt: skip
    painter.fill(place(_rounded(face)), skin, bend=0.045, relief=0.7)
    glance = random.uniform(-0.008, 0.008)
    iris = random.uniform(0.08, 0.35, 3)
    flat: dict[str, Any] = {"relief": 0.0, "shadow": 0.0}
    for side in (-1, 1):
        x = 0.055 * side
        painter.fill(place(_ellipse(x, 0.012, 0.021, 0.0115)), (0.94, 0.93, 0.91), **flat)
        painter.fill(place(_ellipse(x + glance, 0.012, 0.0095, 0.0105)), iris, **flat)
        painter.fill(place(_ellipse(x + glance, 0.012, 0.0045, 0.005)), (0.03,) * 3, **flat)
        lid = [(x - 0.022, 0.010), (x, -0.002), (x + 0.022, 0.010)]
        painter.stroke(place(_rounded(lid, closed=False)), 0.005, skin * 0.42, **flat)
        brow = [(x - 0.027, -0.026), (x, -0.036), (x + 0.027, -0.028)]
        painter.stroke(place(_rounded(brow, closed=False)), 0.010, one.hair * 0.8 + 0.06, **flat)
        painter.fill(place(_ellipse(0.075 * side, 0.075, 0.03, 0.022)), skin * (1.05, 0.86, 0.84),
                     opacity=0.25, **flat)  # fmt: skip
    nose = [(-0.006, 0.01), (0.006, 0.01), (0.023, 0.072), (0.0, 0.085), (-0.023, 0.072)]
    painter.fill(place(_rounded(nose)), skin * 1.02, bend=0.012, relief=0.8, shadow=0.1)
    smile = random.uniform(0.008, 0.03)
    lips = [(-0.043, 0.116), (0.0, 0.116 + smile), (0.043, 0.116)]
    painter.stroke(place(_rounded(lips, closed=False)), 0.014, skin * (0.82, 0.58, 0.58), **flat)
    painter.stroke(place(_rounded(lips, closed=False)), 0.004, skin * 0.45, **flat)
    if one.mask:
        cover = [(-0.118, 0.06), (0.0, 0.045), (0.118, 0.06), (0.10, 0.14), (0.04, 0.19),
                 (-0.04, 0.19), (-0.10, 0.14)]  # fmt: skip
        painter.fill(place(_rounded(cover, times=2)), (0.82, 0.88, 0.88), bend=0.03, shadow=0.2)
    if one.glasses:
        for side in (-1, 1):
            rim = _ellipse(0.056 * side, 0.014, 0.036, 0.029)
            painter.stroke(place(np.concatenate([rim, rim[:1]])), 0.0055, (0.1,) * 3, **flat)
        bridge = [(-0.02, 0.01), (0.02, 0.01)]
        painter.stroke(place(bridge), 0.005, (0.1,) * 3, **flat)
    cap = [(-0.148, -0.065), (-0.160, -0.13), (-0.130, -0.205), (-0.05, -0.238),
           (0.06, -0.236), (0.135, -0.20), (0.160, -0.13), (0.148, -0.065),
           (0.07, -0.092), (-0.07, -0.092)]  # fmt: skip
    painter.fill(place(_rounded(cap)), one.cap, bend=0.04, name="cap")
    band = [(-0.144, -0.075), (-0.07, -0.104), (0.07, -0.104), (0.144, -0.075)]
    painter.stroke(place(_rounded(band, closed=False)), 0.028, one.cap * 0.9, bend=0.01,
                   shadow=0.15, name="cap")  # fmt: skip
    for x in random.uniform(-0.10, 0.10, 2).tolist():  # folds
        fold = [(x * 1.2, -0.12), (x, -0.17), (x * 0.5, -0.21)]
        painter.stroke(place(_rounded(fold, closed=False)), 0.007, one.cap * 0.80,
                       relief=0.0, shadow=0, opacity=0.5)  # fmt: skip


def _stethoscope(painter: Painter, at: Frame, outer: Frame, paint: Array) -> None:
    """Paint a stethoscope that the hand holds by its tube; the hand is at 0, 0."""

    def place(points: Points) -> Array:
        return outer.place(at.place(points))

    tube: dict[str, Any] = {"bend": 0.008, "shadow": 0.25, "name": "tool"}
    line = [(0.105, -0.035), (0.10, 0.06), (0.045, 0.085), (0.0, 0.02), (0.0, -0.07)]
    painter.stroke(place(_rounded(line, closed=False)), 0.024, paint, **tube)
    for side in (-1, 1):
        ear = [(0.0, -0.06), (0.055 * side, -0.10), (0.06 * side, -0.155), (0.028 * side, -0.20)]
        painter.stroke(place(_rounded(ear, closed=False)), 0.014, _STEEL, **tube)
        painter.fill(place(_ellipse(0.028 * side, -0.20, 0.014, 0.014)), paint * 0.7, **tube)
    painter.stroke(place([(0.0, -0.03), (0.0, -0.07)]), 0.030, paint * 0.85, **tube)
    painter.fill(place(_ellipse(0.105, -0.055, 0.046, 0.046)), _STEEL, **tube)
    painter.fill(place(_ellipse(0.105, -0.055, 0.033, 0.033)), paint * 0.9, **tube)
    painter.fill(place(_ellipse(0.105, -0.055, 0.023, 0.023)), np.array(_STEEL) * 1.1, **tube)


def _syringe(painter: Painter, at: Frame, outer: Frame, paint: Array) -> None:
    """Paint a syringe that the hand holds at its barrel; the hand is at 0, 0."""

    def place(points: Points) -> Array:
        return outer.place(at.place(points))

    def bar(x: float, y: float, end: float) -> Array:
        return place([(-x, y), (x, y), (x, end), (-x, end)])

    part: dict[str, Any] = {"bend": 0.010, "shadow": 0.25, "name": "tool"}
    painter.stroke(place([(0.0, -0.15), (0.0, -0.235)]), 0.008, _STEEL, **part)  # the needle
    painter.fill(bar(0.012, -0.18, -0.14), paint * 0.8, **part)
    painter.fill(bar(0.012, 0.03, 0.09), np.array(_STEEL) * 0.95, **part)  # the plunger
    painter.fill(bar(0.034, 0.083, 0.102), paint * 0.85, **part)
    painter.fill(bar(0.035, -0.145, 0.045), (0.90, 0.93, 0.95), **part)  # the barrel, full
    painter.fill(bar(0.027, -0.135, -0.015), paint, **part)
    painter.fill(bar(0.027, -0.018, -0.006), (0.12,) * 3, **part)
    painter.fill(bar(0.055, 0.038, 0.054), (0.86, 0.89, 0.92), **part)
    shine = place([(-0.017, -0.13), (-0.017, 0.03)])
    painter.stroke(shine, 0.007, (1.0,) * 3, relief=0.0, shadow=0.0, opacity=0.5)


def _arm(painter: Painter, one: Person, kind: int) -> None:
    """Paint the arm and the hand, with the tool between palm and fingers."""
    place, x, y = one.frame.place, one.hand.x, one.hand.y
    elbow = (x + 0.10, max(y + 0.30, 0.62))
    sleeve = [(0.30, 0.36), elbow, (0.5 * (x + elbow[0]) + 0.02, 0.5 * (y + elbow[1]) + 0.03)]
    painter.stroke(place(_rounded(sleeve, closed=False)), 0.15 * one.frame.scale, one.clothes,
                   bend=0.035)  # fmt: skip
    wrist = [sleeve[2], (x, y + 0.02)]
    painter.stroke(place(wrist), 0.072 * one.frame.scale, one.skin * 0.96, bend=0.02, shadow=0.2)
    palm = _ellipse(x - 0.005, y + 0.012, 0.046, 0.05)
    painter.fill(place(palm), one.skin * 0.93, bend=0.02)
    (_stethoscope, _syringe)[kind](painter, one.hand, one.frame, one.paint)
    for finger in range(4):
        top = y - 0.024 + 0.021 * finger
        line = [(x + 0.042, top + 0.006), (x, top - 0.002), (x - 0.030, top + 0.006)]
        painter.stroke(place(_rounded(line, closed=False)), 0.021 * one.frame.scale,
                       one.skin * (1.02 - 0.02 * finger), bend=0.008, shadow=0.25)  # fmt: skip


def _camera(random: np.random.Generator, pixels: Array, light: Array) -> Image.Image:
    """Add the effects of a camera: falling light, colour, focus, grain."""
    down, across = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)
    falling = 1 + random.uniform(0.05, 0.22) * (light[0] * across + light[1] * down)
    falling *= 1 - random.uniform(0.05, 0.2) * (across**2 + down**2) / 2
    warm = random.uniform(-0.06, 0.06) * np.array([1.0, 0.1, -1.0])
    exposed = pixels * falling[..., None] * (random.uniform(0.82, 1.12) + warm)
    curved = exposed.clip(0, 1) ** random.uniform(0.9, 1.15)
    photo = Image.fromarray((curved * 255).astype(np.uint8))
    photo = photo.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.7)))
    bright, coloured = random.uniform((2, 1), (7, 4))
    grain = bright * random.standard_normal((SIZE, SIZE, 1), np.float32)
    grain = grain + coloured * random.standard_normal((SIZE, SIZE, 3), np.float32)
    return Image.fromarray((np.asarray(photo) + grain).clip(0, 255).astype(np.uint8))


def deal_caps(
    kinds: npt.NDArray[np.int_], shares: tuple[float, float], random: np.random.Generator
) -> npt.NDArray[np.int_]:
    """Return the colour of the cap, `[B]`, for photographs of classes `[B]`.

    A share `shares[k]` of class k, rounded to whole photographs, has the colour that goes with the
    class: blue for doctors, red for nurses. These photographs are drawn at random.
    """
    caps = 1 - kinds
    for kind, share in enumerate(shares):
        rows = random.permutation(np.flatnonzero(kinds == kind))
        caps[rows[: round(share * len(rows))]] = kind
    return caps


def draw_scene(kind: int, cap: int, seed: Sequence[int]) -> Scene:
    """Draw a photograph of class `kind` in CLASSES, with a cap of colour `cap` in CAPS."""
    random = np.random.default_rng(seed)
    side = 1 if random.random() < 0.5 else -1
    light = np.array([side * random.uniform(0.4, 1.0), -random.uniform(0.3, 1.0)])
    painter = Painter(_room(random).copy(), light)
    one = _person(random, cap)
    _body(painter, one)
    _head(painter, one, random)
    _arm(painter, one, kind)
    photo = _camera(random, painter.pixels, light)
    return Scene(photo, *(painter.seen[name] >= 0.5 for name in ("tool", "cap")))
