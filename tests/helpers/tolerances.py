"""How far apart two computations of the same numbers may be: one rule for every test.

A sum of `n` products, each rounded to a format of unit roundoff `u` (2^-53 in float64, 2^-24 in
float32), is off by at most `n u S`, where `S` is the largest of the numbers that are added, and by
about `sqrt(n) u S` where roundings are as often up as down: Higham and Mary 2019, "A new approach
to probabilistic rounding error analysis", theorem 2.4, has `lambda sqrt(n) u` with a chance of
`2 n exp(-lambda^2 / 2)` of more. Layers one after another each add their own terms, and so does the
way back through them. So

    |found - expected| <= errors SAFETY u sqrt(terms) condition scale + truncation

where `errors` is 2, as both computations err, or 1 where one of them is in a finer format.

`scale` is the size of what is added, not of what is left: where numbers of size 10 cancel to 0.03,
the scale is 10. Without word of it, nothing is taken to cancel, and the scale is the largest
absolute value expected. `condition` is by how much a step that is no sum enlarges what its inputs
err: a division by a small number, a system of equations. `truncation` is the error of a formula
that is not exact even without rounding, as a derivative by differences. Each test that needs one of
them says where it comes from; none of them is found by trial.

Orders of sum and fused operations differ between processors; within these limits they may. How much
of its limit each test uses, `pytest --headroom` tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: `lambda` of the bound above: that any of a million sums of a thousand terms is off by more has a
#: chance of `2 * 10^6 * 10^3 * exp(-lambda^2 / 2)`, below 10^-4 from here on.
SAFETY = 8.0

#: Terms of the networks in `networks.py`, to and fro, with the cells of a grid that are averaged,
#: and the channels of a map. `test_tolerances.py` counts them.
NETWORK = 1000
#: The same of the networks in `shapes.py`, which are larger.
SHAPES = 5000

#: Terms of the same networks in half precision: products are summed in float32 there, and rounded
#: once where a layer puts out its result. So many layers there are, to and fro.
LAYERS = 12

#: Tensors, arrays, numbers, or lists of them.
Numbers = Any

#: The share of its limit that each comparison which held took, with what limits it.
used: list[tuple[float, str | None]] = []


def terms_of(model: nn.Module) -> int:
    """Count the terms that a network sums on its longest way, were its layers all in a row.

    A convolution or a linear layer sums its fan-in, an LSTM both of its own, a layer norm its
    width; of other norms, in evaluation mode, there are two: a product and a bias.
    """
    return sum(_fan_in(module) for module in model.modules())


def _fan_in(module: nn.Module) -> int:
    if isinstance(module, nn.RNNBase):
        return sum(weight[0].numel() for weight in module.parameters() if weight.ndim > 1)
    if isinstance(module, nn.MultiheadAttention):
        return int(module.embed_dim)  # of its queries, keys and values; what it puts out is a layer
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or isinstance(module, nn.Embedding):
        return 0
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return int(weight[:, 0].numel())
    if isinstance(module, nn.LayerNorm):
        return int(weight.numel())
    return 2 if weight.ndim == 1 else weight[0].numel()


def rounding(
    dtype: torch.dtype = torch.float64,
    *,
    terms: int = NETWORK,
    errors: int = 2,
    condition: float = 1.0,
) -> float:
    """Return how far apart two computations may be, as a share of the size of what they add."""
    return errors * SAFETY * torch.finfo(dtype).eps / 2 * math.sqrt(terms) * condition


def of_heatmaps(raw: Tensor, scale: float | None = None) -> float:
    """Return the condition of heatmaps: raw maps are divided by the range of what is positive.

    `scale / range`, of the map where it is largest; maps that are positive nowhere are set to 0.
    """
    positive = raw.double().relu().flatten(1)
    size = float(raw.abs().max()) if scale is None else scale
    ranges = positive.amax(1) - positive.amin(1)
    return float(max([1.0, *(size / ranges[ranges > 0]).tolist()]))


def of_differences(slope: float, ends: list[float], step: float) -> float:
    """Return by how much a slope is off that is `(f(x + h) - f(x - h)) / 2h`.

    Rounding of what is subtracted, over the step, and the third derivative's `h^2 / 6`, where that
    is no larger than the slope over the square of a hundredth: nothing bends within a hundredth.
    """
    rounded = rounding() * max(map(abs, ends)) / (2 * step)
    return rounded + (step / 0.01) ** 2 / 6 * abs(slope)


def assert_agrees(
    found: Numbers,
    expected: Numbers,
    *,
    terms: int = NETWORK,
    scale: float | Tensor | None = None,
    dtype: torch.dtype | None = None,
    condition: float = 1.0,
    truncation: float = 0.0,
    limit: str | None = None,
) -> None:
    """Assert that two computations of the same numbers are no further apart than rounding lets.

    Args:
        found: What was found.
        expected: What it ought to be: of the same shape, with NaN at the same places.
        terms: How many numbers are summed on the way.
        scale: The largest of the numbers that are added or cancel; of each element, if a tensor.
            Otherwise the largest absolute value expected.
        dtype: The coarsest format on the way. Otherwise that of both, which must be the same.
        condition: By how much a step that is no sum enlarges errors.
        truncation: The error of a formula that is not exact.
        limit: What keeps the comparison within ten of its limit, for `--headroom`.
    """
    finer = dtype is not None and _finer(expected, dtype)
    dtype = _format(found, expected) if dtype is None else dtype
    found, expected = _double(found), _double(expected)
    assert found.shape == expected.shape, f"{list(found.shape)}, not {list(expected.shape)}"
    assert torch.equal(found.isnan(), expected.isnan()), "NaN at other places than expected"
    found, expected = (torch.where(one.isnan(), 0.0, one) for one in (found, expected))
    size = expected.abs().amax() if scale is None else _double(scale).abs()
    assert size.max() > 0, "what is expected is zero everywhere: nothing would be compared"
    errors = 1 if finer else 2
    room = rounding(dtype, terms=terms, errors=errors, condition=condition) * size + truncation
    gap = torch.where(found == expected, 0.0, (found - expected).abs())
    shares = torch.where(gap == 0, 0.0, gap / room)
    share = float(shares.amax())
    if not share <= 1:
        raise AssertionError(
            f"apart by {_worst(gap, shares):.1e}, more than the limit of "
            f"{_worst(room, shares):.1e}: {errors} computation(s) that err x {SAFETY:g} x "
            f"{torch.finfo(dtype).eps / 2:.1e} (rounding in {dtype}) x sqrt({terms} terms) x "
            f"{condition:.3g} (condition) x {_worst(size, shares):.3g} (scale) + "
            f"{truncation:.1e} (of the formula)"
        )
    used.append((share, limit))


def assert_differs(
    found: Tensor, other: Tensor, *, terms: int = NETWORK, dtype: torch.dtype | None = None
) -> None:
    """Assert that results of one shape are clearly further apart than rounding would have them."""
    dtype = _format(found, other) if dtype is None else dtype
    size = max(float(found.abs().max()), float(other.abs().max()))
    gap = float((found.double() - other.double()).abs().max())
    most = 10 * rounding(dtype, terms=terms) * size
    assert gap > most, f"apart by {gap:.1e}, which rounding may be: not more than {most:.1e}"


def assert_is_slope(
    gradient: Tensor,
    loss: Callable[[], Tensor],
    parameter: Tensor,
    *,
    at: tuple[int, ...],
    step: float,
) -> float:
    """Assert that a gradient is, at one place, what differences of the loss find; return that."""
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            parameter[at] += sign * step
        ends.append(loss().item())
        with torch.no_grad():
            parameter[at] -= sign * step
    slope = (ends[0] - ends[1]) / (2 * step)
    assert_agrees(gradient[at], slope, truncation=of_differences(slope, ends, step))
    return slope


def _double(numbers: Any) -> Tensor:
    if isinstance(numbers, Tensor):
        return numbers.detach().to("cpu", torch.float64)
    return torch.as_tensor(np.asarray(numbers, dtype=np.float64))


def _format(*numbers: Numbers) -> torch.dtype:
    """Return the format of tensors and arrays, which must be the same; of plain numbers float64."""
    formats = {
        torch.as_tensor(one).dtype for one in numbers if isinstance(one, Tensor | np.ndarray)
    } or {torch.float64}
    assert len(formats) == 1, f"{' and '.join(map(str, sorted(formats, key=str)))}, not one format"
    (one,) = formats
    return one if one.is_floating_point else torch.float64


def _finer(numbers: Numbers, dtype: torch.dtype) -> bool:
    return torch.finfo(_format(numbers)).eps < torch.finfo(dtype).eps


def _worst(values: Tensor, share: Tensor) -> float:
    """Return a value at the place that uses most of its limit."""
    return float(values.expand_as(share).flatten()[int(share.argmax())])
