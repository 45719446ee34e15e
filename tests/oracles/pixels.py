"""Methods that go back to the image, derived again, slowly, from their papers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oracles.evidence import Score, ScoreOf, channels_first, classes, probe, slopes, upsampled
from oracles.family import Family
from oracles.pointwise import hirescam
from oracles.weighted import gradcam

if TYPE_CHECKING:
    from helpers.input_studies import Studied


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

    The product of `|R|` and the positive part of Grad-CAM at the resolution of the images, which
    is divided by its largest value. Nothing is subtracted.
    """
    maps = []
    for fine, one in zip(saliency(guided), coarse, strict=True):
        positive = torch.where(one > 0, one, 0)
        large = upsampled(positive, fine.shape)
        maps.append(fine * large / (max(large.flatten().tolist()) or 1))
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


# How the tests call these methods, and the mistakes that they have to see


def noise(studied: Studied, samples: int = 6, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (samples, *studied.activations.shape[1:])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def rule(studied: Studied) -> Quadrature:
    """Exact to rounding where the network is smooth; else the method's own, as found otherwise."""
    return three_points(60) if studied.smooth else gauss_legendre(40)


def guided(studied: Studied) -> Tensor:
    return guided_backprop(studied.model, studied.images, classes(studied.chosen))


def coarse(studied: Studied) -> Tensor:
    found = probe(studied.model, "block1", studied.images, classes(studied.chosen), channels_first)
    return gradcam(found.activations, found.gradients)


def biases(studied: Studied) -> list[Tensor]:
    found = bias_gradients(studied.model, studied.images, classes(studied.chosen), studied.as_grid)
    return [one for one in found if one.ndim == 4]


def deconvolved(studied: Studied) -> Tensor:
    """Zeiler and Fergus's backward: it looks at the gradient alone, not at the activations."""

    class Deconv(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, *above: Tensor) -> Tensor:
            return above[0].clamp(min=0)

    class ReLU(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return cast("Tensor", Deconv.apply(x))

    model = with_activation(studied.model, ReLU)
    return slopes(lambda x: classes(studied.chosen)(model(x)), studied.images)


def with_activation(model: nn.Module, new: Callable[[], nn.Module]) -> nn.Module:
    twin = copy.deepcopy(model)
    for parent in list(twin.modules()):
        for child, module in list(parent.named_children()):
            if isinstance(module, nn.ReLU):
                setattr(parent, child, new())
    return twin.eval()


def each_channel(layers: Sequence[Tensor]) -> list[Tensor]:
    """Make every channel a layer of its own, so that it is scaled by itself."""
    return [channel[:, None] for layer in layers for channel in layer.unbind(1) if channel.any()]


def nearest(studied: Studied) -> Tensor:
    positive = coarse(studied).clamp(min=0)
    large = F.interpolate(positive[:, None], studied.images.shape[2:])[:, 0]
    return saliency(guided(studied)) * large / large.amax((1, 2), keepdim=True)


def biases_of_another(studied: Studied) -> list[Tensor]:
    """Batch norms without what their running mean adds."""
    twin = with_activation(studied.model, nn.ReLU)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.zero_()
    found = bias_gradients(twin, studied.images, classes(studied.chosen), studied.as_grid)
    return [one for one in found if one.ndim == 4]


def products(studied: Studied) -> float:
    return float((studied.activations * studied.gradients).abs().sum(1).max())


AT_THE_INPUT: Family[Studied] = Family(
    oracles={
        "saliency": lambda s: saliency(s.gradients),
        "input-x-gradient": lambda s: input_x_gradient(s.activations, s.gradients),
        "smoothgrad:samples=6,noise=0.3,seed=3": lambda s: smoothgrad(
            s.score, s.activations, noise(s), 0.3
        ),
        "integrated-gradients:steps=40,baseline=0.2": lambda s: integrated_gradients(
            s.score, s.activations, rule(s), 0.2
        ),
        "guided-backprop": lambda s: saliency(guided(s)),
        "guided-gradcam": lambda s: guided_gradcam(guided(s), coarse(s)),
        "fullgrad": lambda s: fullgrad(s.images, s.gradients, biases(s)),
    },
    doctored={
        "saliency": {
            "the mean over channels": lambda s: s.gradients.abs().mean(1),
            "the sum over channels": lambda s: s.gradients.abs().sum(1),
            "the size of the sum": lambda s: s.gradients.sum(1).abs(),
            "the largest, signed": lambda s: s.gradients.amax(1),
            "the next image's": lambda s: s.gradients.abs().amax(1).roll(1, 0),
        },
        "input-x-gradient": {
            "no image": lambda s: s.gradients.sum(1),
            "no sign": lambda s: (s.activations * s.gradients).abs().sum(1),
            "the mean": lambda s: (s.activations * s.gradients).mean(1),
        },
        "smoothgrad": {
            "no noise": lambda s: s.gradients.abs().amax(1),
            "a deviation that is no share of the range": lambda s: smoothgrad(
                s.score, s.activations, noise(s) / (s.activations.max() - s.activations.min()), 0.3
            ),
            "the mean of sizes": lambda s: torch.stack(
                [smoothgrad(s.score, s.activations, one[None], 0.3) for one in noise(s)]
            ).mean(0),
            "another seed": lambda s: smoothgrad(s.score, s.activations, noise(s, seed=4), 0.3),
        },
        "integrated-gradients": {
            "the right sum": lambda s: integrated_gradients(
                s.score, s.activations, [((k + 1) / 40, 1 / 40) for k in range(40)], 0.2
            ),
            "no way": lambda s: integrated_gradients(s.score, s.activations, [(1.0, 1.0)], 0.2),
            "another baseline": lambda s: integrated_gradients(
                s.score, s.activations, rule(s), 0.0
            ),
            "weights of [-1, 1]": lambda s: integrated_gradients(
                s.score, s.activations, [(t, 2 * w) for t, w in rule(s)], 0.2
            ),
        },
        "guided-backprop": {
            "the gradient": lambda s: saliency(s.gradients),
            "the gradient, where positive": lambda s: saliency(s.gradients.clamp(min=0)),
            "deconvolution": lambda s: saliency(deconvolved(s)),
            "the sum over channels": lambda s: guided(s).sum(1),
            "twice": lambda s: 2 * saliency(guided(s)),
        },
        "guided-gradcam": {
            "no relu": lambda s: (
                saliency(guided(s)) * torch.stack([upsampled(c, (12, 16)) for c in coarse(s)])
            ),
            "nearest neighbours": nearest,
            "no Grad-CAM": lambda s: saliency(guided(s)),
            "Grad-CAM not scaled": lambda s: (
                saliency(guided(s))
                * torch.stack([upsampled(c.clamp(min=0), (12, 16)) for c in coarse(s)])
            ),
        },
        "fullgrad": {
            "each channel scaled by itself": lambda s: fullgrad(
                s.images, s.gradients, each_channel(biases(s))
            ),
            "no biases": lambda s: fullgrad(s.images, s.gradients, []),
            "one layer less": lambda s: fullgrad(s.images, s.gradients, biases(s)[1:]),
            "biases in another order": lambda s: fullgrad(
                s.images, s.gradients, biases_of_another(s)
            ),
        },
    },
    cancels=dict.fromkeys(("input-x-gradient", "integrated-gradients"), products),
    weights={"input-x-gradient": lambda image: (image.g, image.a)},
    tried={
        "guided-backprop": ["cnn"],
        "guided-gradcam": ["cnn, a layer"],
        "fullgrad": ["cnn", "transformer", "channels last"],
    },
)
