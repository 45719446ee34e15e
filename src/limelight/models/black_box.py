"""A model behind an interface: all that is known of it is what it says about a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from limelight.ahead import ahead
from limelight.errors import InputError, MethodError, OptionError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pillow's modes, by the number of channels.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class BlackBox(nn.Module):
    """A function of a picture as a network, for the methods that only run a network.

    Such a function asks a service how probable an answer is, say. `occlusion`, `rise` and
    `kernelshap` cover parts of the picture, and read what that does to the number:

        def ask(picture):  # a Pillow picture
            return service.log_probability(picture, "What is he holding?", "an umbrella")

        box = limelight.BlackBox(ask, threads=8)
        limelight.explain(box, images, method="occlusion:patch=0.2,stride=0.1,baseline=0.5")

    The network takes images `[B, C, H, W]` in [0, 1], of 1, 3 or 4 channels, and returns `[B, 1]`
    in float64. The function gets each as a Pillow picture of `L`, `RGB` or `RGBA`, of the same
    size. A picture is asked for once, however often it occurs in a batch.

    Attributes:
        function: From a Pillow picture to a number; the higher, the more it says so.
        threads: How many pictures are asked for at the same time.
    """

    def __init__(self, function: Callable[[Image], float], *, threads: int = 1) -> None:
        """Wrap a function.

        Raises:
            OptionError: It is no function, or there is no thread.
        """
        super().__init__()
        if not callable(function):
            raise OptionError(
                f"The function is a {type(function).__name__}; a function from a Pillow picture to "
                "a number was expected, such as the log-probability of an answer."
            )
        if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
            raise OptionError(f"threads is {threads!r}; an integer of at least 1 was expected.")
        self.function, self.threads = function, threads

    def forward(self, images: Tensor) -> Tensor:
        """Return what the function says about each image, `[B, 1]`.

        Raises:
            InputError: The images are none, or not in [0, 1].
            MethodError: A gradient is asked for; or the function returned no number.
        """
        if images.requires_grad:
            raise MethodError(
                "A black box has no gradient, as nothing is known of its inside. Use 'occlusion', "
                "'rise' or 'kernelshap'."
            )
        pictures = list(map(_as_picture, _checked(images)))
        found = [_number(value) for value in self._ask(pictures)]
        return torch.tensor(found, dtype=torch.float64, device=images.device)[:, None]

    def _ask(self, pictures: list[Image]) -> Iterable[Any]:
        """Return the function's value for each picture; the same picture is asked for once."""
        keys = [picture.tobytes() for picture in pictures]
        each = dict(zip(keys, pictures, strict=True))
        values: Iterable[float] = map(self.function, each.values())
        if self.threads > 1:
            values = ahead(
                self.function, each.values(), threads=self.threads, count=2 * self.threads
            )
        found = dict(zip(each, values, strict=True))
        return (found[key] for key in keys)


def _checked(images: Tensor) -> Tensor:
    """Return images as numbers from 0 to 255, on the CPU.

    Raises:
        InputError: They are none, or not in [0, 1].
    """
    if images.ndim != 4 or images.shape[1] not in _MODES or not images.is_floating_point():
        raise InputError(
            f"The images are {images.dtype} {list(images.shape)}; floating point numbers [B, C, H, "
            "W] of 1, 3 or 4 channels were expected, which a black box gets as pictures."
        )
    low, high = images.aminmax()
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise InputError(
            f"The images go from {low:.3g} to {high:.3g}; a black box takes pictures, from 0 to 1. "
            "Leave out the mean and the deviation of other networks."
        )
    return (images.detach().double().clamp(0, 1) * 255).round().to(torch.uint8).cpu()


#: How far beyond 0 and 1 a number may be.
_ROUNDING = 1e-3


def _as_picture(image: Tensor) -> Image:
    """Return an image `[C, H, W]` as a Pillow picture."""
    from PIL import Image

    array = image.movedim(0, -1).contiguous().numpy()
    mode = _MODES[len(image)]
    return Image.fromarray(array[..., 0] if mode == "L" else array)


def _number(value: Any) -> float:
    """Return what the function returned, as a number.

    Raises:
        MethodError: It is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise MethodError(
            f"The function of the black box returned {value!r}; a finite number was expected for "
            "each picture, such as the log-probability of an answer."
        )
    return number
