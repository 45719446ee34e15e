"""Signals, volumes and video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from networks import Signal, Solid, train
from pictures import check, save
from shapes import Photos
from torch import Tensor
from torch.nn.functional import cross_entropy

import limelight


def beats(random: np.random.Generator, extra: bool) -> tuple[Tensor, tuple[int, int]]:
    """Return a signal `[1, L]` of beats, and the place of a beat that is too early and too wide."""
    length, at = 512, np.arange(512)
    signal, place = random.normal(0, 0.04, length), (0, 0)
    starts = np.arange(random.integers(20, 60), length - 40, random.integers(58, 70))
    odd = int(random.integers(1, len(starts) - 1))
    for number, start in enumerate(starts.tolist()):
        if extra and number == odd:
            signal += 0.9 * np.exp(-(((at - start + 14) / 9) ** 2))
            signal -= 0.5 * np.exp(-(((at - start - 8) / 9) ** 2))
            place = (start - 32, start + 28)
            continue
        signal += np.exp(-(((at - start) / 2.5) ** 2)) - 0.25 * np.exp(
            -(((at - start - 5) / 2.5) ** 2)
        )
        signal += 0.25 * np.exp(-(((at - start - 22) / 8) ** 2))
    return torch.tensor(signal, dtype=torch.float32)[None], place


def signals(_photos: Photos, out: Path) -> None:
    """Draw which beat made a signal abnormal."""
    random = np.random.default_rng(2)
    strange = torch.arange(480) % 2
    known = torch.stack([beats(random, bool(one))[0] for one in strange])

    def loss_of(rows: Tensor) -> Tensor:
        return cross_entropy(model(known[rows]), strange[rows])

    model = Signal()
    train(model, loss_of, len(known), 200, 4e-3)
    signal, (first, last) = beats(random, True)
    result = limelight.explain(
        model, signal[None], target="an extra beat", classes=["regular", "an extra beat"]
    )
    inside = torch.zeros(signal.shape[1])
    inside[first:last] = 1
    check(result.heatmap[0], inside)
    save(result, out / "task-signal.png")


def scan(random: np.random.Generator, nodule: bool) -> tuple[Tensor, Tensor]:
    """Return a volume `[1, D, H, W]` with bright rods and a ball, and the mask of the ball."""
    z, y, x = np.meshgrid(*[np.arange(n) + 0.5 for n in (16, 32, 32)], indexing="ij")
    volume = random.normal(0, 0.15, z.shape)
    for _ in range(3):  # rods through all slices, slightly tilted
        (a, b), (c, d) = random.uniform(4, 28, 2), random.uniform(-0.4, 0.4, 2)
        volume += 1.0 * ((y - a - c * z) ** 2 + (x - b - d * z) ** 2 < 2.2**2)
    centre = random.uniform(4, 12), *random.uniform(6, 26, 2)
    inside = sum((w - c) ** 2 for w, c in zip((z, y, x), centre, strict=True)) < 3.4**2
    inside = inside & nodule
    volume[inside] += 1.0
    return torch.tensor(volume, dtype=torch.float32)[None], torch.from_numpy(inside)


def film(random: np.random.Generator, way: int) -> tuple[Tensor, Tensor]:
    """Return a video `[3, T, H, W]` in which one of three discs moves, and the mask of that one."""
    count, size, step = 8, 48, 2.6
    dy, dx = ((0, -step), (0, step), (-step, 0), (step, 0))[way]
    y, x = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5, indexing="ij")
    places = list[tuple[float, float]]()
    while len(places) < 3:
        v, u = random.uniform(8, size - 8, 2)
        ends = v + dy * (count - 1), u + dx * (count - 1)
        inside = all(6 < end < size - 6 for end in ends) or places
        if inside and all(max(abs(v - a), abs(u - b)) > 13 for a, b in places):
            places.append((v, u))
    paint = [random.uniform(0.2, 1, 3) for _ in places]
    film = np.full((3, count, size, size), -0.6) + random.normal(0, 0.03, (1, count, size, size))
    moving = np.zeros((count, size, size), dtype=bool)
    for t in range(count):
        for number, (v, u) in reversed(list(enumerate(places))):
            shift = t if number == 0 else 0
            disc = (y - v - dy * shift) ** 2 + (x - u - dx * shift) ** 2 < 4.5**2
            film[:, t, disc] = paint[number][:, None]
            if number == 0:
                moving[t] = disc
    return torch.tensor(film, dtype=torch.float32), torch.from_numpy(moving)


def solids(_photos: Photos, out: Path) -> None:
    """Draw a ball in a volume, and the moving disc of a video."""
    random = np.random.default_rng(3)
    sick = torch.arange(320) % 2
    volumes = torch.stack([scan(random, bool(one))[0] for one in sick])

    def of_volumes(rows: Tensor) -> Tensor:
        return cross_entropy(model(volumes[rows]), sick[rows])

    model = Solid(1, 2, (1, 1, 1))
    train(model, of_volumes, len(volumes), 120, 4e-3)
    volume, inside = scan(random, True)
    result = limelight.explain(model, volume[None], target="nodule", classes=["clear", "nodule"])
    check(result.heatmap[0], inside)
    save(result, out / "task-volume.png")

    ways = torch.arange(320) % 4
    films = torch.stack([film(random, int(way))[0] for way in ways])

    def of_films(rows: Tensor) -> Tensor:
        return cross_entropy(watcher(films[rows]), ways[rows])

    watcher = Solid(3, 4, (1, 2, 2))
    train(watcher, of_films, len(films), 250, 6e-3)
    names = ["moves left", "moves right", "moves up", "moves down"]
    clip, moving = film(random, 1)
    result = limelight.explain(watcher, clip[None], target="moves right", classes=names)
    check(result.heatmap[0], moving)
    save(result, out / "task-video.png")
