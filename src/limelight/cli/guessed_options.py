"""Options that people guess, and those that stand in their place."""

from __future__ import annotations

from collections.abc import Collection

from limelight.peer_names import ARGUMENTS

_CLASS, _OUT = ("--target", "--targets"), ("--out",)

#: Guesses, without dashes before and with dashes inside, and what may stand in their place. A
#: command has one of these.
_INSTEAD = {
    "aug-smooth": ("--views flips",),
    "eigen-smooth": ("--eigen",),
    "use-cuda": ("--device cuda",),
    "cuda": ("--device cuda",),
    "gpu": ("--device cuda",),
    "class": _CLASS,
    "label": _CLASS,
    "category": _CLASS,
    "class-name": _CLASS,
    "output-dir": _OUT,
    "output-path": _OUT,
    "output-file": _OUT,
    "save": _OUT,
    "overlay": ("--picture overlay",),
    "blend": ("--picture blend",),
    "heatmap": ("--picture heatmap",),
    "arch": ("--model",),
    "network": ("--model",),
    "checkpoint": ("--weights",),
    "language": ("--lang",),
}


_PHOTOS = ("image", "images", "image-path", "img", "input", "input-path", "photo", "photos", "path")


def option_instead(given: str, known: Collection[str]) -> str:
    """Return what to write in the place of an option that a command does not have; "" if unknown.

    Args:
        given: The option, with its dashes.
        known: The options that the command has.
    """
    name = given.lstrip("-").replace("_", "-")
    if name in _PHOTOS:
        return "Photos are named without an option."
    if name == "methods" and "--method" in known:
        return "Use --method for one; limelight compare takes several."
    arguments, _ = ARGUMENTS.get(name.replace("-", "_"), ((), ""))
    possible = [*_INSTEAD.get(name, ()), *(f"--{each}" for each in arguments)]
    option = next((each for each in possible if each.partition(" ")[0] in known), "")
    return f"Use {option}." if option else ""
