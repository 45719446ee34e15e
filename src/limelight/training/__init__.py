"""Training on where a network looks: losses on its maps, and what watches them epoch by epoch.

result = limelight.explain(model, images, target=labels, differentiable=True)
loss = cross_entropy(model(images), labels) + limelight.training.outside(result, masks)
"""

from typing import TYPE_CHECKING

from limelight.lazy import lazy_names

if TYPE_CHECKING:  # for type checkers, and for tools that read what a program imports
    from limelight.training.callbacks import (
        lightning_callback,
        trainer_callback,
    )
    from limelight.training.evidence_places import (
        evidence_masks,
        find_again,
    )
    from limelight.training.losses import inside, outside
    from limelight.training.monitor import MapMonitor
    from limelight.training.records import MapRecord
    from limelight.training.writers import (
        FolderWriter,
        MapWriter,
        MlflowWriter,
        TensorBoardWriter,
        WandbWriter,
    )

__all__ = [
    "FolderWriter",
    "MapMonitor",
    "MapRecord",
    "MapWriter",
    "MlflowWriter",
    "TensorBoardWriter",
    "WandbWriter",
    "evidence_masks",
    "find_again",
    "inside",
    "lightning_callback",
    "outside",
    "trainer_callback",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "callbacks": ("lightning_callback", "trainer_callback"),
        "evidence_places": ("evidence_masks", "find_again"),
        "losses": ("inside", "outside"),
        "monitor": ("MapMonitor",),
        "records": ("MapRecord",),
        "writers": (
            "FolderWriter",
            "MapWriter",
            "MlflowWriter",
            "TensorBoardWriter",
            "WandbWriter",
        ),
    },
)
