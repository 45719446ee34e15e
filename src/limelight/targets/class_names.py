"""The names of classes: ImageNet's, or from a text file."""

from __future__ import annotations

from pathlib import Path

from limelight.errors import OptionError
from limelight.files import read_text


def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes, by index."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def read_class_names(path: str | Path) -> list[str]:
    """Return the class names in a text file, one per line.

    Raises:
        OptionError: The file cannot be read, or a line is empty.
    """
    try:
        text = read_text(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"The class names cannot be read from {str(path)!r}: {error}. A text file with one "
            "name per line was expected."
        ) from error
    names = [line.strip() for line in text.strip().splitlines()]
    if not names or "" in names:
        raise OptionError(
            f"The file {str(path)!r} holds {'an empty line' if names else 'no class names'}; one "
            "name per line was expected, in the order of the model's outputs."
        )
    return names
