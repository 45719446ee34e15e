"""The gradient of each operator, written out in operators that ONNX has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from limelight.runtime.export_rewrites import backward_decompositions

_seeded = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(4, 4, 3, 3, generator=_seeded)
GROUPED = torch.randn(4, 2, 3, 3, generator=_seeded)

#: Operators on `[2, 4, 8, 9]`.
OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "conv, strided and padded": lambda x: F.conv2d(x, WEIGHT, stride=2, padding=1),
    "conv, dilated": lambda x: F.conv2d(x, WEIGHT, padding=2, dilation=2),
    "conv, grouped": lambda x: F.conv2d(x, GROUPED, stride=3, groups=2),
    "conv, along one axis": lambda x: F.conv1d(x[:, :, 0], WEIGHT[..., 0], stride=2),
    "conv, transposed": lambda x: F.conv_transpose2d(x, WEIGHT, stride=2, output_padding=1),
    "average pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "average pool without padding in it": lambda x: F.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=False
    ),
    "average pool over the edge": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average pool with a divisor": lambda x: F.avg_pool2d(x, (2, 3), divisor_override=5),
    "average pool along one axis": lambda x: F.avg_pool1d(x[:, :, 0], 3, 2),
    "average pool of volumes": lambda x: F.avg_pool3d(x[:, None], (2, 3, 2)),
    "average pool to a size": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "average pool along one axis to a size": lambda x: F.adaptive_avg_pool1d(x[:, :, 0], 4),
    "average pool of volumes to a size": lambda x: F.adaptive_avg_pool3d(x[:, None], (3, 2, 4)),
    "max pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max pool of volumes": lambda x: F.max_pool3d(x[:, None], 2),
    "max pool to a size": lambda x: F.adaptive_max_pool2d(x, (3, 2)),
    "power pool": lambda x: F.lp_pool2d(x, 2, 2),
    "nearest": lambda x: F.interpolate(x, size=(13, 6)),
    "nearest exact": lambda x: F.interpolate(x, scale_factor=2.3, mode="nearest-exact"),
    "linear": lambda x: F.interpolate(x[:, :, 0], size=20, mode="linear"),
    "bilinear": lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "bilinear with aligned corners": lambda x: F.interpolate(
        x, scale_factor=2, mode="bilinear", align_corners=True
    ),
    "bicubic": lambda x: F.interpolate(x, size=(5, 20), mode="bicubic"),
    "trilinear": lambda x: F.interpolate(x[:, None], size=(3, 9, 11), mode="trilinear"),
    "zero padding": lambda x: F.pad(x, (1, 2, 0, 3)),
    "replicated border": lambda x: F.pad(x, (1, 2, 0, 3), mode="replicate"),
    "reflected border": lambda x: F.pad(x, (1, 2, 0, 3), mode="reflect"),
    "group norm": lambda x: F.group_norm(x, 2),
    "instance norm": F.instance_norm,
    "layer norm": lambda x: F.layer_norm(x, (9,)),
    "local response norm": lambda x: F.local_response_norm(x, 3),
    "unit length": lambda x: F.normalize(x, dim=1),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "roll": lambda x: torch.roll(x, 2, 3),
    "chosen channels": lambda x: x[:, [1, 0, 1]],
    "softmax": lambda x: F.softmax(x, 1),
    "log-softmax": lambda x: F.log_softmax(x, 1),
    "gated": lambda x: F.glu(x, 1),
    "silu": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "relu6": F.relu6,
    "leaky relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "log-sigmoid": F.logsigmoid,
    "prelu": lambda x: F.prelu(x, torch.full((4,), 0.2)),
    "highest of all": lambda x: x.amax((2, 3)),
    "deviation": lambda x: x.std(1),
    "sorted": lambda x: x.topk(2, -1).values,
    "product": lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
}


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_the_gradient_of_an_operator_is_that_of_autograd_without_a_backward_operator(
    operator: Callable[[Tensor], Tensor],
) -> None:
    def gradient(values: Tensor) -> Tensor:
        leaf = values.detach().requires_grad_()
        output = operator(leaf)
        weights = torch.arange(output.numel()).reshape(output.shape) % 7 - 3.0
        return torch.autograd.grad((output * weights).sum(), leaf)[0]

    values = torch.randn(2, 4, 8, 9, generator=torch.Generator().manual_seed(1))
    graph = make_fx(
        gradient,
        decomposition_table=backward_decompositions(),
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )(values)

    left = [str(node.target) for node in graph.graph.nodes if "backward" in str(node.target)]
    assert not left
    torch.testing.assert_close(graph(values), gradient(values), rtol=1e-4, atol=1e-5)
