"""Methods that go back to the image, derived again, slowly, from their papers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from oracles.evidence import Score, ScoreOf, slopes, upsampled
from oracles.pointwise import hirescam


def saliency(gradients: Tensor) -> Tensor:
    """Saliency, `M_ij = max_c |w_h(i, j, c)|`, `w = dS_c/dI`; Simonyan et al. 2014, section 3.1."""
    maps = []
    for g in gradients:
        largest = torch.zeros_like(g[0])
        for g_k in g:
            largest = torch.where(g_k > largest, g_k, torch.where(-g_k > largest, -g_k, largest))
        maps.append(largest)
    return torch.stack(maps)


def input_x_gradient(activations: Tensor, gradients: Tensor) -> Tensor:
    """Gradient times input, `sum_k X_k dy_c/dX_k`; Shrikumar et al. 2016."""
    return hirescam(activations, gradients)


def smoothgrad(score: ScoreOf, images: Tensor, drawn: Tensor, level: float) -> Tensor:
    """SmoothGrad, from standard normal noise `[n, C, *image]`; Smilkov et al. 2017, section 3.

    `M(x) = 1/n sum_i M_c(x + N(0, sigma^2))`, with the noise level `sigma / (x_max - x_min)`.
    """
    total = torch.zeros_like(images)
    for noise in drawn:
        noisy = [x + level * (x.max().item() - x.min().item()) * noise for x in images]
        total = total + slopes(score, torch.stack(noisy))
    return saliency(total / len(drawn))


#: Points in [0, 1] with their weights: an integral is the weighted sum of the values there.
Quadrature = Sequence[tuple[float, float]]


def three_points(panels: int) -> Quadrature:
    """Gauss's rule of three points in each of many panels."""
    rule = ((-math.sqrt(3 / 5), 5 / 18), (0.0, 8 / 18), (math.sqrt(3 / 5), 5 / 18))
    return [
        ((panel + (1 + at) / 2) / panels, weight / panels)
        for panel in range(panels)
        for at, weight in rule
    ]


def gauss_legendre(points: int) -> Quadrature:
    """Gauss's rule from the Jacobi matrix of Legendre's polynomials; Golub and Welsch 1969."""
    beside = [k / math.sqrt(4 * k**2 - 1) for k in range(1, points)]
    off = torch.diag(torch.tensor(beside, dtype=torch.float64), 1)
    found, vectors = torch.linalg.eigh(off + off.T)
    weights = [vectors[0, k].item() ** 2 for k in range(points)]
    return [((1 + at) / 2, w) for at, w in zip(found.tolist(), weights, strict=True)]


def integrated_gradients(
    score: ScoreOf, images: Tensor, rule: Quadrature, baseline: float = 0.0
) -> Tensor:
    """Integrated gradients; Sundararajan et al. 2017, section 3.

    `sum_k (x_k - x'_k) int_0^1 dF(x' + t (x - x'))/dx_k dt`.
    """
    start = torch.full_like(images, baseline)
    mean = torch.zeros_like(images)
    for t, weight in rule:
        mean = mean + weight * slopes(score, (1 - t) * start + t * images)
    return input_x_gradient(images - start, mean)


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: Tensor, highest: float) -> Tensor:
        ctx.save_for_backward(f)
        ctx.highest = highest
        return torch.where(f > 0, torch.where(f < highest, f, highest), 0)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        (f,), (r,) = ctx.saved_tensors, above
        return torch.where((f > 0) & (f < ctx.highest) & (r > 0), r, 0), None


class _GuidedReLU(nn.Module):
    def __init__(self, highest: float) -> None:
        super().__init__()
        self.highest = highest

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", _Guided.apply(x, self.highest))


def guided_backprop(model: nn.Module, images: Tensor, score: Score) -> Tensor:
    """Guided backpropagation, `R` at the images `[B, C, *image]`, of a model with ReLU modules.

    At every ReLU `R_l = [f_l > 0] [R_l+1 > 0] R_l+1`: Springenberg et al. 2015, figure 1.
    """
    twin = copy.deepcopy(model).eval()
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU | nn.ReLU6):
                setattr(parent, name, _GuidedReLU(6.0 if isinstance(child, nn.ReLU6) else math.inf))
    return slopes(lambda x: score(twin(x)), images)


def guided_gradcam(guided: Tensor, coarse: Tensor) -> Tensor:
    """Guided Grad-CAM, from `R` and Grad-CAM without its ReLU; Selvaraju et al. 2017, section 3.2.

    Their product at the resolution of the images, Grad-CAM scaled to [0, 1].
    """
    maps = []
    for fine, one in zip(saliency(guided), coarse, strict=True):
        positive = torch.where(one > 0, one, 0)
        maps.append(fine * _to_unit(upsampled(positive, fine.shape)))
    return torch.stack(maps)


def _to_unit(values: Tensor) -> Tensor:
    low, high = min(values.flatten().tolist()), max(values.flatten().tolist())
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)


def bias_gradients(
    model: nn.Module,
    images: Tensor,
    score: Score,
    grid: Callable[[Tensor, bool], Tensor | None],
) -> list[Tensor]:
    """Return `f^b = dy_c/dz_l * b_l` of every layer with a bias; Srinivas and Fleuret 2019.

    In the order in which the layers run: as `grid` makes one `[B, K, *grid]` of an output, told
    whether its channels come last, or the output's shape where it makes none. The bias of a batch
    norm is what it adds: `beta - gamma mu / sigma`.
    """
    twin = copy.deepcopy(model).eval()
    met: list[tuple[Tensor, Tensor, bool]] = []

    def keep(module: nn.Module, _args: object, output: Tensor) -> Tensor:
        bias: Any = module.bias
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            gamma: Any = 1 if module.weight is None else module.weight
            sigma = (module.running_var + module.eps).sqrt()
            bias = (0 if bias is None else bias) - gamma * module.running_mean / sigma
        last = isinstance(module, nn.Linear | nn.LayerNorm)
        if bias is not None:
            along = bias if last else bias.reshape(-1, *[1] * (output.ndim - 2))
            met.append((output, along.detach(), last))
        return output.clone()

    kinds = (
        nn.modules.conv._ConvNd,
        nn.modules.batchnorm._NormBase,  # of batches and of instances
        nn.GroupNorm,
        nn.LayerNorm,
        nn.Linear,
    )
    for module in twin.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(keep)
    scores = score(twin(images))
    found = []
    for output, along, last in met:
        term = torch.zeros_like(output)
        for b, one in enumerate(scores):
            (slope,) = torch.autograd.grad(one, output, retain_graph=True)
            term[b] = slope[b] * along
        as_grid = grid(term, last)
        found.append((term if as_grid is None else as_grid).detach())
    return found


def fullgrad(images: Tensor, gradients: Tensor, biases: Sequence[Tensor]) -> Tensor:
    """FullGrad, from the bias-gradients that have a grid; Srinivas and Fleuret 2019, section 4.

    `S_f = psi(sum_k x_k dy_c/dx_k) + sum_l sum_c psi(f^b_l)_c`, psi being the absolute value,
    scaled to [0, 1] over the layer, upsampled.
    """
    maps = []
    for b, image in enumerate(images):
        product_ = input_x_gradient(image[None], gradients[b][None])[0]
        total = _to_unit(product_.abs())
        for layer in biases:
            for channel in _to_unit(layer[b].abs()):
                total = total + upsampled(channel, image.shape[1:])
        maps.append(total)
    return torch.stack(maps)
