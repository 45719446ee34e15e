"""Which layer of a vision transformer, and why is its map blank?

    python examples/transformer.py

A ViT has a token for each patch, and a class token that the answer is read from. After the last
attention the patches have no gradient, so the map of a layer there is blank: its status says so,
and which layer to take. limelight lays the tokens out on their grid. The ViT, one of timm, learns
in seconds whether a quarter of a picture shows bricks; the rest of it is grass and gravel.
"""

import timm
import torch
from drawn import train
from PIL import Image
from skimage import data
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchvision.transforms.functional import to_tensor

import limelight

PHOTOS = [
    Image.fromarray(photo()).resize((256, 256)) for photo in (data.brick, data.gravel, data.grass)
]
WINDOWS = torch.cat(list(map(to_tensor, PHOTOS))).unfold(1, 32, 8).unfold(2, 32, 8).flatten(1, 2)


def draw(count: int) -> tuple[Tensor, Tensor]:
    """Return pictures of four windows, `[B, 1, 64, 64]`, and which of them are bricks."""
    kinds = torch.randint(1, 3, (count, 4))
    kinds[torch.arange(count // 2), torch.randint(4, (count // 2,))] = 0
    tiles = WINDOWS[kinds, torch.randint(WINDOWS.shape[1], (count, 4))]
    tiles = (tiles - tiles.mean((2, 3), keepdim=True)) / tiles.std((2, 3), keepdim=True)
    return tiles.unflatten(1, (2, 2)).transpose(2, 3).reshape(count, 1, 64, 64), kinds == 0


def loss_of() -> Tensor:
    """Return the cross entropy on new pictures."""
    images, bricks = draw(32)
    return cross_entropy(model(images), bricks.any(1).long())


torch.manual_seed(0)
size = {"img_size": 64, "patch_size": 8, "in_chans": 1, "embed_dim": 48, "depth": 3, "num_heads": 3}
model = timm.models.VisionTransformer(num_classes=2, **size)
train(model, loss_of, steps=120, rate=2e-3)

images, bricks = draw(200)
right = (model(images).argmax(1) == bricks.any(1)).float().mean()
print(f"{right:.0%} of 200 new pictures are right.")
result = limelight.explain(model, images[:100], target=1)
heat = result.heatmap.unflatten(1, (2, 32)).unflatten(3, (2, 32)).sum((2, 4)).flatten(1)
share = ((heat * bricks[:100]).sum(1) / heat.sum(1)).nanmean()
print(f"At {result.layer}, {share:.0%} of the heat is on the quarter with bricks; chance is 25%.")

maps = limelight.compare(
    model,
    images[:1],
    methods="gradcam attention-x-gradient rollout",
    targets="bricks",
    layers=["norm", None],  # a blank one, and the one that limelight takes
    classes=["none", "bricks"],
)
(blank,) = maps.pick(layer="norm")
print(f"At norm: {blank.status[0].name}. {blank.status[0].message}")
style = limelight.FigureStyle(width="200mm", dpi=110)
print("The picture is", maps.save("transformer.jpg", style=style).resolve())
