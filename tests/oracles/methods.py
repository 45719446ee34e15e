"""The methods derived again, slowly, from their papers.

Nothing of limelight is used here: deep copies of the model, ordinary forward hooks, full forwards
and full backwards. How a layer's output becomes a grid `[B, K, *grid]` is told, not found.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

#: A layer's output as a grid `[B, K, *grid]`.
Grid = Callable[[Tensor], Tensor]
#: A model's output as one score per image, `[B]`.
Score = Callable[[Any], Tensor]


class Probe(NamedTuple):
    """What a full forward and backward found at a layer."""

    output: Any
    raw: Tensor  # the layer's output, as it was when the layer returned
    activations: Tensor  # [B, K, *grid]
    gradients: Tensor  # [B, K, *grid]


def channels_first(raw: Tensor) -> Tensor:
    return raw


def channels_last(raw: Tensor) -> Tensor:
    return torch.stack(list(raw.unbind(-1)), dim=1)


def tokens(prefix: int, grid: Sequence[int]) -> Grid:
    def as_grid(raw: Tensor) -> Tensor:
        batch, count, width = raw.shape
        assert count == prefix + math.prod(grid)
        return torch.stack([raw[:, prefix:, k].reshape(batch, *grid) for k in range(width)], dim=1)

    return as_grid


def classes(indices: Sequence[int], logits: Callable[[Any], Tensor] = lambda y: y) -> Score:
    """`y^c`: the logit of one class per image."""
    return lambda y: torch.stack([logits(y)[b, c] for b, c in enumerate(indices)])


def probe(
    model: nn.Module, layer: str, inputs: Any, score: Score, grid: Grid, *, call: int = 1
) -> Probe:
    """Run the whole model and differentiate each image's score by the layer's output, in turn."""
    twin = copy.deepcopy(model).eval().requires_grad_(True)
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: Any) -> Any:
        # A clone, lest it be the layer's input as well; and another goes on, so that no later
        # in-place operation reaches what was kept.
        tensor = (output[0] if isinstance(output, tuple) else output).clone()
        seen.append(tensor)
        return (tensor.clone(), *output[1:]) if isinstance(output, tuple) else tensor.clone()

    twin.get_submodule(layer).register_forward_hook(keep)
    with torch.inference_mode(False), torch.enable_grad():
        output = run(twin, inputs)
        raw = seen[call - 1]
        gradients = torch.zeros_like(raw)
        for b, one in enumerate(score(output)):
            (gradient,) = torch.autograd.grad(one, raw, retain_graph=True)
            gradients[b] = gradient[b]
    return Probe(output, raw.detach(), grid(raw.detach()), grid(gradients))


def run(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def substituted(model: nn.Module, layer: str, inputs: Any, raw: Tensor, *, call: int = 1) -> Any:
    """Run the whole model afresh, with `raw` in place of what the layer puts out at that call.

    The output has a graph if `raw` has one.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    calls = 0

    def replace(_module: nn.Module, _args: object, _output: Any) -> Any:
        nonlocal calls
        calls += 1
        return raw.clone() if calls == call else None

    twin.get_submodule(layer).register_forward_hook(replace)
    with torch.set_grad_enabled(raw.requires_grad):
        return run(twin, inputs)


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM without its ReLU, `[B, *grid]`; Selvaraju et al. 2017.

    Eq. 1: `alpha_k^c = 1/Z sum_i sum_j dy^c / dA^k_ij`. Eq. 2: `L^c = ReLU(sum_k alpha_k^c A^k)`.
    """
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            alpha = g_k.sum() / g_k.numel()
            total = total + alpha * a_k
        maps.append(total)
    return torch.stack(maps)


def cam(activations: Tensor, weight: Tensor, indices: Sequence[int]) -> Tensor:
    """CAM, `[B, *grid]`, from the linear layer's weight `[C, K]`; Zhou et al. 2016.

    Eq. 1: `S_c = sum_k w_k^c sum_xy f_k(x, y)`. Eq. 2: `M_c(x, y) = sum_k w_k^c f_k(x, y)`.
    """
    maps = []
    for f, c in zip(activations, indices, strict=True):
        total = torch.zeros_like(f[0])
        for k, f_k in enumerate(f):
            total = total + weight[c, k] * f_k
        maps.append(total)
    return torch.stack(maps).detach()


# CAM family

#: The score of each image of a batch, `[B]`, were these its activations `[B, K, *grid]`, or its
#: pixels `[B, C, *image]`.
ScoreOf = Callable[[Tensor], Tensor]


def hessians(score: ScoreOf, activations: Tensor) -> list[Tensor]:
    """Return each image's matrix of second derivatives by its activations, `[n, n]`, in full."""

    def one(b: int, flat: Tensor) -> Tensor:
        rows = list(activations)
        rows[b] = flat.reshape(rows[b].shape)
        return score(torch.stack(rows))[b]

    return [
        torch.autograd.functional.hessian(partial(one, b), a.flatten())  # type: ignore[no-untyped-call]
        for b, a in enumerate(activations)
    ]


def upsampled(channel: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate linearly between the middles of the cells, which hold to the edges."""
    for axis, pixels in enumerate(size):
        cells = channel.unbind(axis)
        rows = []
        for pixel in range(pixels):
            at = (pixel + 0.5) / pixels * len(cells) - 0.5  # in cells, 0 at the middle of the first
            at = min(max(at, 0.0), len(cells) - 1.0)
            left = min(int(at), len(cells) - 1)
            right = min(left + 1, len(cells) - 1)
            rows.append((1 - (at - left)) * cells[left] + (at - left) * cells[right])
        channel = torch.stack(rows, dim=axis)
    return channel


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++ without its ReLU; Chattopadhay et al. 2018.

    Eq. 19: `alpha_ij = g_ij^2 / (2 g_ij^2 + sum_ab A_ab g_ij^3)`. Eq. 5: `w_k = sum_ij alpha_ij
    relu(dY/dA_ij)`, eq. 20: `L = relu(sum_k w_k A_k)`. Of eq. 13, `dY/dA = exp(S) g`, the factor
    that all channels share is left out.
    """
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            mass = math.fsum(a_k.flatten().tolist())
            shares = []
            for slope in g_k.flatten().tolist():
                if slope > 0:
                    alpha = slope**2 / (2 * slope**2 + mass * slope**3)
                    shares.append(alpha * slope)
            total = total + math.fsum(shares) * a_k
        maps.append(total)
    return torch.stack(maps)


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """XGrad-CAM without its ReLU; Fu et al. 2020.

    `w_k = sum_xy (F_k(x, y) / sum_xy F_k(x, y)) dS_c/dF_k(x, y)`, `L = sum_k w_k F_k`. The paper
    does not say what a channel that sums to zero weighs: here, nothing.
    """
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            mass = math.fsum(a_k.flatten().tolist())
            pairs = zip(a_k.flatten().tolist(), g_k.flatten().tolist(), strict=True)
            if mass:
                total = total + math.fsum(value / mass * slope for value, slope in pairs) * a_k
        maps.append(total)
    return torch.stack(maps)


def shapleycam(activations: Tensor, gradients: Tensor, hessians: Sequence[Tensor]) -> Tensor:
    """ShapleyCAM without its ReLU, from each image's Hessian `[n, n]`; Cai 2025.

    `w_k = 1/Z sum_ij (g - 1/2 H A)_ij^k`, `L = sum_k w_k A_k`.
    """
    maps = []
    for a, g, hessian in zip(activations, gradients, hessians, strict=True):
        bend = torch.stack([(row * a.flatten()).sum() for row in hessian]).reshape(a.shape)
        total = torch.zeros_like(a[0])
        for a_k, g_k, bend_k in zip(a, g, bend, strict=True):
            total = total + (g_k - bend_k / 2).sum() / g_k.numel() * a_k
        maps.append(total)
    return torch.stack(maps)


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """HiResCAM, `sum_k dy_c/dA_k A_k` element by element; Draelos and Carin 2020."""
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            total = total + g_k * a_k
        maps.append(total)
    return torch.stack(maps)


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """LayerCAM without its ReLU; Jiang et al. 2021.

    `w_ij^k = relu(dy_c/dA_ij^k)`, `M = relu(sum_k w_ij^k A_ij^k)`.
    """
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            total = total + torch.where(g_k > 0, g_k * a_k, 0)
        maps.append(total)
    return torch.stack(maps)


def gradcam_elementwise(activations: Tensor, gradients: Tensor) -> Tensor:
    """`sum_k relu(dy_c/dA_k A_k)`; of no paper, but of the grad-cam library (Gildenblat 2021)."""
    maps = []
    for a, g in zip(activations, gradients, strict=True):
        total = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            total = total + torch.where(g_k * a_k > 0, g_k * a_k, 0)
        maps.append(total)
    return torch.stack(maps)


def fem(activations: Tensor, deviations: float = 2.0) -> Tensor:
    """FEM; Fuad et al. 2020: `sum_k mu_k [A_k > mu_k + n sigma_k]`, sigma that of a population."""
    maps = []
    for a in activations:
        total = torch.zeros_like(a[0])
        for a_k in a:
            values = a_k.flatten().tolist()
            mean = statistics.fmean(values)
            threshold = mean + deviations * statistics.pstdev(values)
            rare = [mean if value > threshold else 0.0 for value in values]
            total = total + torch.tensor(rare, dtype=a.dtype).reshape(a_k.shape)
        maps.append(total)
    return torch.stack(maps)


def ablationcam(score: ScoreOf, activations: Tensor) -> Tensor:
    """Ablation-CAM without its ReLU; Desai and Ramaswamy 2020.

    `w_k = (y_c - y_c^k) / y_c` with `y_c^k` the score when channel k is zero, `L = sum_k w_k A_k`;
    without the division, which would turn the map of a negative score.
    """
    total = torch.zeros_like(activations[:, 0])
    for k in range(activations.shape[1]):
        without = activations.clone()
        without[:, k] = 0
        drop = score(activations) - score(without)
        total = total + torch.stack([w * a[k] for w, a in zip(drop, activations, strict=True)])
    return total


def reciprocam(score: ScoreOf, activations: Tensor, *, gaussian: bool = False) -> Tensor:
    """Recipro-CAM; Byun and Lee 2022: each cell's score when it alone is left of the grid.

    The score when nothing is left, which all cells share, is taken off. With `gaussian`, its
    neighbours are left too: each step away weighs half as much, and the cell itself `2^-axes`, so
    that the weights sum to one; those outside the grid are lost.
    """
    cells = list(product(*map(range, activations.shape[2:])))
    nothing = score(torch.zeros_like(activations))
    found = []
    for cell in cells:
        left = torch.zeros_like(activations).flatten(2)
        for place, other in enumerate(cells):
            away = [abs(i - j) for i, j in zip(cell, other, strict=True)]
            steps = [{0: 1 / 2, 1: 1 / 4}.get(d, 0.0) for d in away]
            weight = math.prod(steps) if gaussian else float(cell == other)
            left[:, :, place] = weight * activations.flatten(2)[:, :, place]
        found.append(score(left.reshape(activations.shape)) - nothing)
    return torch.stack(found, dim=1).reshape(-1, *activations.shape[2:])


def unchanged(mask: Tensor) -> list[Tensor]:
    return [mask]


def with_noise(noise: Tensor) -> Callable[[Tensor], list[Tensor]]:
    """SS-CAM's masks, from noise `[samples, 1, *image]`."""
    return lambda mask: [mask + one[0] for one in noise]


def faded_in(samples: int) -> Callable[[Tensor], list[Tensor]]:
    """IS-CAM's masks."""
    return lambda mask: [mask * (i + 1) / samples for i in range(samples)]


def scorecam(
    score: ScoreOf,
    images: Tensor,
    activations: Tensor,
    masks: Callable[[Tensor], list[Tensor]] = unchanged,
    *,
    softmax: bool = False,
) -> Tensor:
    """Score-CAM without its ReLU; Wang et al. 2020.

    Eq. 7: `H_k = s(Up(A_k))`. Eq. 8: `s(A) = (A - min A) / (max A - min A)`. Eq. 6 and 10:
    `alpha_k = f(X * H_k) - f(X_b)`, with `X_b = 0` (section 4). Eq. 9: `L = relu(sum_k alpha_k
    A_k)`. Algorithm 1 takes the softmax over k of alpha.

    With several masks of a channel it is their mean gain: SS-CAM (Wang et al. 2020 b) and IS-CAM
    (Naidu et al. 2020). Of a channel that is the same everywhere, where eq. 8 is 0/0, the mask is
    taken to be zero.
    """
    black = score(torch.zeros_like(images))
    gains = []
    for k in range(activations.shape[1]):
        seen = []
        for image, a in zip(images, activations, strict=True):
            large = upsampled(a[k], image.shape[1:])
            spread = large.max() - large.min()
            seen.append([image * one for one in masks((large - large.min()) / (spread or 1))])
        runs = [score(torch.stack(list(together))) - black for together in zip(*seen, strict=True)]
        gains.append(sum(runs, torch.zeros_like(black)) / len(runs))
    maps = []
    for b, a in enumerate(activations):
        alpha = [gain[b].item() for gain in gains]
        if softmax:
            highest = max(alpha)
            raised = [math.exp(one - highest) for one in alpha]
            alpha = [one / sum(raised) for one in raised]
        total = torch.zeros_like(a[0])
        for alpha_k, a_k in zip(alpha, a, strict=True):
            total = total + alpha_k * a_k
        maps.append(total)
    return torch.stack(maps)


def eigencam(activations: Tensor, *, centred: bool = False) -> Tensor:
    """Eigen-CAM; Muhammad and Yeasin 2020: `A = U S V^T`, `L = A V_1`.

    The sign, which a singular vector has not, is that of the correlation with the mean channel.
    """
    maps = []
    for a in activations:
        channels = [a_k.flatten() - (a_k.mean() if centred else 0) for a_k in a]
        samples = torch.stack(channels, dim=1)
        first = torch.linalg.svd(samples).Vh[0]
        component = torch.stack([(sample * first).sum() for sample in samples])
        maps.append(_with_sign_of(component, a).reshape(a.shape[1:]))
    return torch.stack(maps)


def eigengradcam(activations: Tensor, gradients: Tensor, *, centred: bool = False) -> Tensor:
    """Eigen-CAM of `dy_c/dA * A`; of no paper, but of the grad-cam library (Gildenblat 2021)."""
    return eigencam(activations * gradients, centred=centred)


def segeigencam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Seg-Eigen-CAM; Chung and Ying 2025: centred Eigen-CAM of `|dy_c/dA| * A`.

    The map is turned when `|min| > |max|`.
    """
    maps = eigencam(activations * gradients.abs(), centred=True)
    return torch.stack([-one if one.min().abs() > one.max().abs() else one for one in maps])


def kpcacam(activations: Tensor, *, gamma: float | None = None, offset: float = 1.0) -> Tensor:
    """KPCA-CAM; Karmani et al. 2024: the first kernel principal component of the cells.

    Kernel PCA (Schoelkopf et al. 1998) with `k(x, y) = tanh(gamma x . y + offset)` on centred
    channels: `sqrt(l_1) u_1` of the kernel matrix, centred in feature space,
    `K - 1K - K1 + 1K1` with `1` full of `1 / n`. Signed as `eigencam`.
    """
    maps = []
    for a in activations:
        cells = list(torch.stack([a_k.flatten() - a_k.mean() for a_k in a], dim=1))
        scale = 1 / len(a) if gamma is None else gamma
        kernel = torch.tensor(
            [[math.tanh(scale * (x * y).sum().item() + offset) for y in cells] for x in cells],
            dtype=a.dtype,
        )
        ones = torch.full_like(kernel, 1 / len(cells))
        kernel = kernel - ones @ kernel - kernel @ ones + ones @ kernel @ ones
        values, vectors = torch.linalg.eig(kernel)
        largest = int(values.real.argmax())
        vector = vectors[:, largest].real
        component = vector / vector.norm() * values.real[largest].sqrt()
        maps.append(_with_sign_of(component, a).reshape(a.shape[1:]))
    return torch.stack(maps)


def _with_sign_of(component: Tensor, channels: Tensor) -> Tensor:
    """Turn a component `[cells]` so that it correlates with the mean of channels `[K, *grid]`."""
    mean = sum(channels.unbind(), torch.zeros_like(channels[0])).flatten() / len(channels)
    together = torch.stack([component, mean])
    return component * torch.corrcoef(together)[0, 1].sign()


# Input, attention, controls


def cells_of(size: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return the indices of all cells of a grid, the last axis running fastest."""
    return list(product(*(range(n) for n in size)))


def score_behind(
    model: nn.Module,
    layer: str,
    images: Tensor,
    score: Score,
    raw_of: Callable[[Tensor], Tensor] = channels_first,
) -> ScoreOf:
    """Return the whole model afresh, with given activations in place of the layer's output.

    Of the layer "<input>" the activations are the images; `raw_of` turns a grid into what the layer
    puts out.
    """
    twin = copy.deepcopy(model).eval()

    def score_of(activations: Tensor) -> Tensor:
        if layer == "<input>":
            return score(twin(activations.clone()))
        handle = twin.get_submodule(layer).register_forward_hook(
            lambda *_: raw_of(activations).clone()
        )
        try:
            return score(twin(images))
        finally:
            handle.remove()

    return score_of


def tokens_with(prefix: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what puts a grid `[B, K, *grid]` behind prefix tokens `[B, P, K]`."""

    def as_tokens(activations: Tensor) -> Tensor:
        cells = [activations[(..., *ij)] for ij in cells_of(activations.shape[2:])]
        return torch.cat([prefix, torch.stack(cells, dim=1)], dim=1)

    return as_tokens


def slopes(score: ScoreOf, activations: Tensor) -> Tensor:
    """Return `dy_c/dA` `[B, K, *grid]`, of each image's score in turn."""
    with torch.enable_grad():
        leaf = activations.detach().clone().requires_grad_()
        rows = [
            torch.autograd.grad(one, leaf, retain_graph=True)[0][b]
            for b, one in enumerate(score(leaf))
        ]
    return torch.stack(rows)


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


def occlusion(
    score: ScoreOf,
    images: Tensor,
    wide: Sequence[int],
    step: Sequence[int],
    baseline: float = 0.0,
) -> Tensor:
    """Occlusion, with covers `wide` pixels a side and `step` apart; Zeiler and Fergus 2014, 4.2.

    Of each pixel the mean, over the covers that hide it, of what the score loses. The last cover of
    a row ends where the image does.
    """
    size = images.shape[2:]
    starts = []
    for length, w, s in zip(size, wide, step, strict=True):
        along = [0]
        while along[-1] + w < length:
            along.append(min(along[-1] + s, length - w))
        starts.append(along)
    losses: dict[tuple[Any, ...], list[Tensor]] = {}
    whole = score(images)
    for corner in product(*starts):
        inside = cells_of(wide)
        hidden = [tuple(c + i for c, i in zip(corner, cell, strict=True)) for cell in inside]
        covered = images.clone()
        for at in hidden:
            covered[(slice(None), slice(None), *at)] = baseline
        loss = (whole - score(covered)).detach()
        for at in hidden:
            losses.setdefault(at, []).append(loss)
    found = torch.zeros_like(images[:, 0])
    for pixel, those in losses.items():
        found[(slice(None), *pixel)] = sum(those, torch.zeros_like(whole)) / len(those)
    return found.detach()


def rise_mask(
    grid: Tensor, shift: Sequence[int], cell: Sequence[int], size: Sequence[int]
) -> Tensor:
    """One mask of RISE; Petsiuk et al. 2018, section 3.2.

    The grid of cells, enlarged to `cell` pixels each by linear interpolation, seen through a window
    of the image's size at the shift.
    """
    large = upsampled(grid, [n * c for n, c in zip(grid.shape, cell, strict=True)])
    mask = torch.zeros(tuple(size), dtype=grid.dtype)
    for pixel in cells_of(size):
        mask[pixel] = large[tuple(p + s for p, s in zip(pixel, shift, strict=True))]
    return mask


def rise(score: ScoreOf, images: Tensor, masks: Tensor, keep: float) -> Tensor:
    """RISE, from its masks `[N, *image]`; Petsiuk et al. 2018, section 3.1.

    `S = 1 / (E[M] N) sum_i f(I * M_i) M_i`, with `f` less its mean over the masks, which adds the
    same to all pixels but for the noise of the masks.
    """
    scores = [score(images * mask).detach().tolist() for mask in masks]
    total = torch.zeros_like(images[:, 0])
    for b in range(len(images)):
        mean = math.fsum(of_mask[b] for of_mask in scores) / len(scores)
        for of_mask, mask in zip(scores, masks, strict=True):
            total[b] += (of_mask[b] - mean) * mask / (keep * len(masks))
    return total


def shapley(
    score: ScoreOf, images: Tensor, parts: Sequence[Tensor], baseline: float = 0.0
) -> Tensor:
    """Shapley values of parts of the images, each pixel having that of its part.

    `phi_i = sum_{S without i} |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))` with v(S) the score of
    the image with nothing but the parts in S: Shapley 1953; Lundberg and Lee 2017, section 2.4.
    """
    found = torch.zeros_like(images[:, 0])
    for b, part in enumerate(parts):
        count = int(part.max()) + 1
        value: dict[tuple[bool, ...], float] = {}
        for coalition in product((False, True), repeat=count):
            variant = torch.full_like(images, baseline)
            for i, inside in enumerate(coalition):
                if inside:
                    variant[b] = torch.where(part == i, images[b], variant[b])
            value[coalition] = score(variant)[b].item()
        for i in range(count):
            phi = 0.0
            for without, worth in value.items():
                if not without[i]:
                    others = sum(without)
                    orders = math.factorial(others) * math.factorial(count - others - 1)
                    with_i = (*without[:i], True, *without[i + 1 :])
                    phi += orders / math.factorial(count) * (value[with_i] - worth)
            found[b][part == i] = phi
    return found


class Attended(NamedTuple):
    """The attention of all layers `[B, heads, N, N]`, and the gradient of the score by it."""

    output: Any
    weights: list[Tensor]
    gradients: list[Tensor]


#: From an attention module and its input `[B, N, width]`: its queries, keys and values
#: `[B, heads, N, d]`, and what makes its output of what the heads found `[B, N, width]`.
Parts = tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]


def _by_head(joint: Tensor, heads: int) -> list[Tensor]:
    """Split queries, keys and values that follow each other, each a head after another."""
    thirds = joint.chunk(3, -1)
    return [torch.stack(one.chunk(heads, -1), dim=1) for one in thirds]


def attention_parts(module: Any, x: Tensor) -> Parts:
    """Read an `nn.MultiheadAttention`, or a module with `qkv` and `proj` (timm's and our own)."""
    if isinstance(module, nn.MultiheadAttention):
        weight = module.in_proj_weight
        q, k, v = _by_head(x @ weight.T + module.in_proj_bias, module.num_heads)
        return q, k, v, module.out_proj
    heads = module.heads if hasattr(module, "heads") else module.num_heads
    q, k, v = _by_head(module.qkv(x), heads)
    return q, k, v, module.proj


class _PassOn(nn.Module):
    def forward(self, x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        return x


def attended(
    model: nn.Module,
    attentions: Sequence[str],
    images: Tensor,
    score: Score,
    *,
    without: Sequence[str] = (),
) -> Attended:
    """Write the attention of a network out, `A = softmax(Q K^T / sqrt(d))`, and differentiate by A.

    Args:
        model: The network; its attention takes the tokens first, `[B, N, width]`.
        attentions: The paths of its attention modules, first to last.
        images: The images.
        score: From its output to scores.
        without: The paths of blocks that hand on what they get.
    """
    twin = copy.deepcopy(model).eval()
    for path in without:
        twin.set_submodule(path, _PassOn())
    weights: list[Tensor] = []
    added: list[Tensor] = []

    def write(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> Any:
        q, k, v, finish = attention_parts(module, args[0])
        heads, found = [], []
        extra = torch.zeros(*q.shape[:3], k.shape[2], dtype=q.dtype, requires_grad=True)
        for h in range(q.shape[1]):
            raised = (q[:, h] @ k[:, h].transpose(1, 2) / math.sqrt(q.shape[-1])).exp()
            heads.append(raised / raised.sum(-1, keepdim=True))
            found.append((heads[-1] + extra[:, h]) @ v[:, h])  # dy/dA is dy/d(extra)
        weights.append(torch.stack(heads, dim=1).detach())
        added.append(extra)
        result = finish(torch.cat(found, dim=-1))
        return (result, None) if isinstance(output, tuple) else result

    for path in attentions:
        twin.get_submodule(path).register_forward_hook(write)
    output = twin(images)
    gradients = [torch.zeros_like(extra) for extra in added]
    for b, one in enumerate(score(output)):
        for gradient, slope in zip(
            gradients, torch.autograd.grad(one, added, retain_graph=True), strict=True
        ):
            gradient[b] = slope[b]
    return Attended(output.detach(), weights, gradients)


def rows_read(
    relevance: Tensor, readers: Sequence[int], prefix: int, grid: Sequence[int]
) -> Tensor:
    """Return what the tokens that the head reads get from the grid, on average, `[B, *grid]`."""
    found = torch.zeros(len(relevance), *grid, dtype=relevance.dtype)
    for row in readers:
        for n, cell in enumerate(cells_of(grid)):
            found[(slice(None), *cell)] += relevance[:, row, prefix + n] / len(readers)
    return found


def rollout(weights: Sequence[Tensor]) -> Tensor:
    """Attention rollout, `[B, N, N]`; Abnar and Zuidema 2020.

    `A = 0.5 W_att + 0.5 I`, the heads averaged; eq. 1: `A~(l_i) = A(l_i) A~(l_i-1)`.
    """
    found = []
    for image in zip(*weights, strict=True):
        relevance = torch.eye(image[0].shape[-1], dtype=image[0].dtype)
        for heads in image:
            mean = sum(heads, torch.zeros_like(heads[0])) / len(heads)
            relevance = (0.5 * mean + 0.5 * torch.eye(len(mean), dtype=mean.dtype)) @ relevance
        found.append(relevance)
    return torch.stack(found)


def attention_x_gradient(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Transformer explainability, `[B, N, N]`; Chefer et al. 2021, section 3.

    `A_bar = E_h[(dy_t/dA * A)^+]`, then `R <- R + A_bar R` from `R = I`, layer by layer; of it what
    tokens got from others, `R - I`.
    """
    found = []
    for b in range(len(weights[0])):
        received = torch.zeros_like(weights[0][b, 0])
        for a, g in zip(weights, gradients, strict=True):
            bar = torch.zeros_like(received)
            for a_h, g_h in zip(a[b], g[b], strict=True):
                bar = bar + torch.where(a_h * g_h > 0, a_h * g_h, 0) / a.shape[1]
            received = received + bar + bar @ received
        found.append(received)
    return torch.stack(found)


def legrad(layers: Sequence[Tensor], prefix: int, grid: Sequence[int]) -> Tensor:
    """LeGrad, from `ds_l/dA_l` of every layer, `[B, heads, N, N]`; Bousselham et al. 2024.

    `E_l` is the mean of `(ds_l/dA_l)^+` over heads and queries; the map is the mean over layers of
    what falls on the grid. With s_l the score of the network's own head, not of the mean token.
    """
    total = torch.zeros(len(layers[0]), *grid, dtype=layers[0].dtype)
    for gradients in layers:
        _, heads, count, _ = gradients.shape
        for n, cell in enumerate(cells_of(grid)):
            column = gradients[:, :, :, prefix + n]
            positive = torch.where(column > 0, column, 0).sum((1, 2)) / (heads * count)
            total[(slice(None), *cell)] += positive / len(layers)
    return total


def uniform_ranks(count: int) -> Tensor:
    """Return the expected values of `count` draws from [0, 1], in order; Adebayo et al. 2018."""
    return torch.tensor([k / (count + 1) for k in range(1, count + 1)], dtype=torch.float64)


def centre(grid: Sequence[int], width: float) -> Tensor:
    """A Gaussian in the middle, `width` of a side wide; the prior of Zhang et al. 2018."""
    blob = torch.zeros(tuple(grid), dtype=torch.float64)
    for cell in cells_of(grid):
        away = [
            ((i + 0.5) / n - 0.5) / width for i, n in zip(cell, grid, strict=True)
        ]  # in widths, from the middle of the image to that of the cell
        blob[cell] = math.exp(-sum(a * a for a in away) / 2)
    return blob
