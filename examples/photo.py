"""What did the network see in my photo?

    python examples/photo.py               # a cat beside a cup
    python examples/photo.py holiday.jpg

The network was trained on ImageNet and comes with limelight. It is shown the whole photo, and each
of its three best answers gets a map of its own.
"""

import sys
from dataclasses import replace

from PIL import Image

import limelight
from limelight.photos.samples import find_sample


def cat_beside_cup() -> Image.Image:
    """Return two photos that come with scikit-image as one."""
    cat, cup = (limelight.load_photo(find_sample(name)) for name in ("chelsea", "coffee"))
    both = Image.new("RGB", (600, 300))
    both.paste(cat.crop((75, 0, 375, 300)))
    both.paste(cup.crop((100, 0, 500, 400)).resize((300, 300)), (300, 0))
    return both


photo = limelight.load_photo(sys.argv[1]) if len(sys.argv) > 1 else cat_beside_cup()
network = limelight.load_model()
whole = replace(network.preprocess, size=None, resize=224)  # no crop: the shorter side is 224
network = replace(network, preprocess=whole)

maps = limelight.compare(network, photo, methods="gradcam", targets=limelight.top(3))
for result in maps:
    print(f"{result.label[0]}: score {result.score[0]:.2f}, map {result.status[0].name}")
print("The picture is", maps.save("photo.jpg").resolve())
