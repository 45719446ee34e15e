"""A function of pictures as a network, for the methods that only run a network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, LimelightError, MethodError, OptionError

METHODS = [
    "occlusion:patch=0.25,stride=0.125,baseline=0.5",
    "rise:masks=40,cells=4",
    "kernelshap:samples=30,segments=6",
]


def redness(picture: Image.Image) -> float:
    """Return by how much a picture is redder than blue."""
    numbers = np.asarray(picture).astype(np.float64) / 255
    return float((numbers[..., 0] ** 2 - numbers[..., 2]).mean())


class Redness(nn.Module):
    """The same as a network that is no black box, on pictures of 8 bits."""

    def forward(self, images: Tensor) -> Tensor:
        numbers = (images.double() * 255).round() / 255
        return (numbers[:, 0] ** 2 - numbers[:, 2]).mean((1, 2))[:, None]


def with_a_red_spot() -> Tensor:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 16, 24) * 0.3
    images[0, 0, 2:7, 3:9] = 1
    images[1, 0, 9:14, 15:21] = 1
    return images


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_black_box_is_explained_as_the_network_that_it_hides(method: str, threads: int) -> None:
    images = with_a_red_spot()
    found = limelight.explain(limelight.BlackBox(redness, threads=threads), images, method=method)
    plain = limelight.explain(Redness(), images, method=method)
    assert_agrees(found.score, plain.score)
    assert_agrees(found.raw, plain.raw, dtype=torch.float32)


def test_what_a_black_box_looks_at_is_in_place() -> None:
    found = limelight.explain(limelight.BlackBox(redness), with_a_red_spot(), method=METHODS[0])
    for heatmap, (rows, columns) in zip(
        found.heatmap, (((2, 7), (3, 9)), ((9, 14), (15, 21))), strict=True
    ):
        y, x = divmod(int(heatmap.argmax()), 24)
        assert rows[0] <= y < rows[1]
        assert columns[0] <= x < columns[1]
    assert all(status.ok for status in found.status)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_the_function_gets_pillow_pictures_of_the_same_numbers(channels: int, mode: str) -> None:
    seen = list[Image.Image]()

    def ask(picture: Image.Image) -> float:
        seen.append(picture)
        return 1.5

    images = torch.arange(channels * 6).reshape(1, channels, 2, 3).float() / 255
    assert limelight.BlackBox(ask)(images).tolist() == [[1.5]]
    (picture,) = seen
    assert (picture.mode, picture.size) == (mode, (3, 2))
    numbers = torch.from_numpy(np.array(picture)).reshape(2, 3, channels).movedim(-1, 0)
    assert torch.equal(numbers[None].float(), (images * 255).round())


def test_a_picture_that_occurs_twice_is_asked_for_once() -> None:
    asked = list[float]()

    def ask(picture: Image.Image) -> float:
        asked.append(redness(picture))
        return asked[-1]

    images = with_a_red_spot()
    found = limelight.BlackBox(ask)(torch.cat([images, images.flip(0)]))
    assert len(asked) == 2
    assert torch.equal(found[:2], found[2:].flip(0))


def test_several_pictures_are_asked_for_at_the_same_time_and_stay_in_order() -> None:
    together = threading.Barrier(3, timeout=20)

    def ask(picture: Image.Image) -> float:
        together.wait()  # passes only if three wait at once
        return redness(picture)

    images = torch.rand(3, 3, 4, 4)
    found = limelight.BlackBox(ask, threads=3)(images)
    assert_agrees(found, Redness()(images))


@pytest.mark.parametrize("method", ["gradcam", "saliency", "smoothgrad:samples=2"])
def test_a_method_of_gradients_says_that_a_black_box_has_none(method: str) -> None:
    with pytest.raises(MethodError, match=r"has no gradient.*'occlusion', 'rise' or 'kernelshap'"):
        limelight.explain(limelight.BlackBox(redness), with_a_red_spot(), method=method)


@pytest.mark.parametrize("value", [None, "very", float("nan"), float("inf"), [1.0, 2.0]])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(MethodError, match="a finite number was expected"):
        limelight.BlackBox(lambda _: value)(with_a_red_spot())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: limelight.BlackBox(cast("Any", "http://")),
            OptionError,
            "function is a str; a function from",
        ),
        (lambda: limelight.BlackBox(redness, threads=0), OptionError, "threads is 0; an integer"),
        (lambda: limelight.BlackBox(redness)(torch.rand(3, 4, 4)), InputError, r"\[3, 4, 4\]"),
        (lambda: limelight.BlackBox(redness)(torch.rand(1, 2, 4, 4)), InputError, "1, 3 or 4"),
        (
            lambda: limelight.BlackBox(redness)(torch.rand(1, 3, 4, 4) * 3 - 1),
            InputError,
            r"go from -\d.*a black box takes pictures, from 0 to 1",
        ),
    ],
)
def test_bad_input_is_refused(
    make: Callable[[], Any], error: type[LimelightError], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


def test_an_error_of_the_function_is_what_the_user_sees() -> None:
    def ask(_picture: Image.Image) -> float:
        raise ConnectionError("the service is down")

    for threads in (1, 2):
        with pytest.raises(ConnectionError, match="the service is down"):
            limelight.explain(
                limelight.BlackBox(ask, threads=threads), with_a_red_spot(), method="occlusion"
            )
