"""Where cells look: the measured centres and spreads against exact derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import ready
from helpers.page_cases import embedded, noise
from limelight.errors import LayerError


def looked_at(model: nn.Module, image: Tensor, path: str) -> Tensor:
    """Return the squared derivatives of a layer `[1, K, *grid]` by pixels, `[*grid, *image]`."""
    image, outputs = image.clone().requires_grad_(), list[Tensor]()
    hook = model.get_submodule(path).register_forward_hook(lambda *args: outputs.append(args[2]))
    model(image)
    hook.remove()
    numbers = outputs[0][0]
    rows = [
        torch.autograd.grad(number, image, retain_graph=True)[0][0].double().square().sum(0)
        for number in numbers.flatten()
    ]
    by_number = torch.stack(rows).reshape(*numbers.shape, *image.shape[2:])
    return by_number.sum(0)


def moments_of(squares: Tensor, axis: int, axes: int) -> tuple[Tensor, Tensor]:
    """Return the means and deviations of distributions `[*grid, *image]` along an image axis."""
    shape = squares.shape[-axes:]
    sizes = [1] * axes
    sizes[axis] = shape[axis]
    y = ((torch.arange(shape[axis], dtype=torch.float64) + 0.5) / shape[axis]).reshape(sizes)
    inside = tuple(range(-axes, 0))
    whole = squares.sum(inside)
    mean = (squares * y).sum(inside) / whole
    return mean, ((squares * y * y).sum(inside) / whole - mean**2).sqrt()


@pytest.mark.parametrize(
    ("network", "image", "layer"),
    [
        (networks.ResidualCNN, noise(3, 24, 32), "block1"),
        (networks.Signal, noise(2, 120), "conv"),
        (networks.Volume, noise(1, 9, 8, 7), "conv"),
    ],
    ids=["picture", "signal", "volume"],
)
def test_centres_and_spreads_are_those_of_the_derivatives(
    network: Callable[[], nn.Module], image: Tensor, layer: str
) -> None:
    torch.manual_seed(0)
    model = ready(network(), torch.float32)
    cells = limelight.where_cells_look(model, image, layer)
    squares = looked_at(model, image, layer)
    axes = image.ndim - 2
    assert cells.energy.shape == squares.shape[:-axes] == cells.layout.grid
    assert cells.centre.shape == cells.spread.shape == (axes, *cells.layout.grid)
    energy = squares.sum(tuple(range(-axes, 0)))
    answers = energy > 0.05 * energy.max()
    for axis in range(axes):
        centre, spread = moments_of(squares, axis, axes)
        off = ((cells.centre[axis] - centre) / spread)[answers].abs()
        assert float(off.mean()) < 0.35, "centres lie within the noise of eight draws"
        ratio = (cells.spread[axis] / spread)[answers]
        assert 0.75 < float(ratio.median()) < 1.25


def test_cells_of_a_trained_network_look_in_their_order() -> None:
    network, _, images = embedded()
    cells = limelight.where_cells_look(network.model, images, "blocks.3")
    assert repr(cells) == "CellPlaces(blocks.3, 14 x 14 cells)"
    own = (torch.arange(14, dtype=torch.float64) + 0.5) / 14
    assert float((cells.centre[0] - own[:, None]).abs().median()) < 0.02
    assert float((cells.centre[1] - own).abs().median()) < 0.02
    assert 0.02 < float(cells.spread.median()) < 0.06
    assert float(cells.energy.max()) == 1


def test_the_chosen_layer_is_measured_when_none_is_named() -> None:
    model = ready(networks.TinyViT(), torch.float32)
    images = noise(3, 12, 16)
    cells = limelight.where_cells_look(model, images)
    assert cells.layer == limelight.explain(model, images).layer
    assert cells.layout.prefix > 0, "tokens without a place are left out"
    assert cells.energy.shape == (3, 4)
    again = limelight.where_cells_look(model, torch.cat([images, images.flip(3)]))
    assert torch.equal(cells.centre, again.centre), "it is measured on the first image"


class Cropping(nn.Module):
    """Looks only at the middle third of the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 4, 4)
        self.fc = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        third = images.shape[3] // 3
        features = self.conv(images[..., third : 2 * third])
        return self.fc(features.relu().mean((2, 3)))  # type: ignore[no-any-return]


def test_places_are_those_on_the_picture_where_the_network_crops_it() -> None:
    cells = limelight.where_cells_look(Cropping().eval(), noise(3, 16, 48), "conv")
    assert cells.energy.shape == (4, 4)
    assert torch.allclose(
        cells.centre[1].mean(0),
        (1 + torch.tensor([0.5, 1.5, 2.5, 3.5]).double() / 4) / 3,
        atol=0.02,
    )


class Dead(nn.Module):
    """Answers to no picture: its layer has only zeros as weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.stop = nn.ReLU()
        self.fc = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stop(self.conv(images) - 1e6)
        return self.fc(features.mean((2, 3)))  # type: ignore[no-any-return]


def test_what_cannot_be_measured_is_refused() -> None:
    model = ready(networks.ResidualCNN(), torch.float32)
    images = noise(3, 24, 32)
    advice = r"The cells of the input are its own pixels.*a layer; `limelight layers` lists them\."
    with pytest.raises(LayerError, match=advice):
        limelight.where_cells_look(model, images, limelight.INPUT)
    with pytest.raises(LayerError, match="is no grid over the image: it has a single position"):
        limelight.where_cells_look(ready(networks.PoolLinear(), torch.float32), images, "fc")
    with pytest.raises(LayerError, match="changes nothing that can be measured at 'stop'"):
        limelight.where_cells_look(Dead().eval(), images, "stop")
