"""Which layer should I take?

    python examples/layers.py

Early layers have fine grids and know edges; late layers have coarse grids and know objects. Unless
you name a layer, limelight takes the last one that still has a grid and that the score depends on.
The script says which that is and why, and draws the map of one class at five layers. The command
`limelight layers --model NAME` lists the layers of any network.
"""

import limelight
from limelight.photos.samples import find_sample

network = limelight.load_model()
photo = limelight.load_photo(find_sample("coffee"))

result = limelight.explain(network, photo, target="espresso")
print(f"limelight takes {result.layer}: {result.reason}.")

layers = ["bn1", "blocks.1", "blocks.2", "blocks.4", "bn2"]
maps = limelight.compare(network, photo, methods="layercam", targets="espresso", layers=layers)
for result in maps:
    print(f"{result.layer}: {' x '.join(map(str, result.raw.shape[1:]))} cells")
style = limelight.FigureStyle(width="200mm", dpi=130)
print("The picture is", maps.save("layers.jpg", style=style).resolve())
