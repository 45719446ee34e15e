"""`examine`: the installation, or a network, looked at part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limelight.examination.installation import examine_installation
from limelight.examination.observations import Examination
from limelight.misnamed import checked_arguments

if TYPE_CHECKING:
    from limelight.layers.resolved import Layer
    from limelight.models.network import Images, Model
    from limelight.targets import LogitsKey, Target


@checked_arguments
def examine(
    model: Model | None = None,
    inputs: Images | None = None,
    *,
    target: Target = None,
    layer: Layer | None = None,
    output: LogitsKey | None = None,
    seconds: float = 60,
) -> Examination:
    """Find out whether limelight works here, or whether it reads a network well.

        print(limelight.examine())  # versions, packages, devices, a first map
        found = limelight.examine(model, images)  # what is found in a network, and what to mend
        found.ok, found.broken, found.notes

    Without a model it examines the installation: versions, packages and what each is for, devices,
    whether torch, numpy and torchvision fit together, and a map of the embedded network, which has
    to be that of its equation. With a model: its weights, what it takes and returns, which layer is
    chosen and why, whether the cells of that layer look where they lie, a first map, whether that
    is the same again, whether the model is left untouched, and whether the map goes away when the
    weights are drawn anew.

    Args:
        model: As in `explain`; None for the installation.
        inputs: As in `explain`. A `Network` without them is shown a sample photo.
        target, layer, output: As in `explain`.
        seconds: How long the test with random weights may take, about.

    Raises:
        InputError: There are no images for a model that is no `Network`, or there are images and no
            model; or as `explain`.
    """
    if model is None:
        if inputs is not None:
            from limelight.errors import InputError

            raise InputError(
                "There are images and no model. Pass the model too; or neither, to examine the "
                "installation."
            )
        return Examination(tuple(examine_installation()))
    from limelight.examination.own_network import examine_network

    found = examine_network(
        model, inputs, target=target, layer=layer, output=output, seconds=seconds
    )
    return Examination(tuple(found))
