"""Networks of open_clip: `open_clip:NAME/TAG`, with prompts as classes. Extra `open_clip`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from limelight.errors import ModelError, OptionError, WeightsError, describe_error, unknown
from limelight.models.network import Network
from limelight.models.prompted import Prompted, compare_encoded
from limelight.models.state import fit, read_state
from limelight.photos.preprocess import Preprocess

#: What open_clip loads from elsewhere than its own list of weights.
_ELSEWHERE = ("hf-hub:", "local-dir:")


def load_open_clip(name: str, weights: str | Path, classes: Sequence[str] | None) -> Network:
    """Load a network of open_clip with texts filled in; the logits say how well each text fits.

    `open_clip:NAME/TAG` has the weights of that tag, `open_clip:local-dir:FOLDER` those of a
    folder, and `open_clip:hf-hub:NAME` those of the hub; `open_clip:NAME` has random weights, or
    those of a file.

    Raises:
        ModelError: The preprocessing is one that limelight does not do.
        MissingPackageError: open_clip is not installed.
        UnknownNameError: open_clip knows no such network.
        WeightsError: The weights cannot be had, or do not fit.
        OptionError: There are no texts, or there is no tag.
    """
    import open_clip

    source = name.removeprefix("open_clip:")
    if not classes:
        raise OptionError(
            f"{name!r} compares pictures with texts. Pass the texts, or a file with one per line, "
            "as classes=[...]."
        )
    architecture, tag = _parts(source)
    default = str(weights) == "default"
    _check_names(open_clip, name, architecture, tag, needs_tag=default)
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _fetched(
            source,
            lambda: open_clip.create_model(
                architecture, pretrained=tag if default else None, load_weights=default
            ),
        )
        tokenizer = _fetched(source, lambda: open_clip.get_tokenizer(architecture))
    if not default and str(weights) != "none":
        fit(model, read_state(Path(weights)), str(weights))

    def read(texts: Sequence[str]) -> dict[str, torch.Tensor]:
        return {"text": tokenizer(list(texts))}

    return Network(
        name=name,
        model=Prompted(model, read(classes), tokenizer, compare_encoded, read),
        preprocess=_preprocess(name, model.visual.preprocess_cfg),
        weights=source if default else "random" if str(weights) == "none" else str(weights),
    )


def _parts(source: str) -> tuple[str, str | None]:
    """Return the architecture in a name, and the tag of its weights."""
    if source.startswith(_ELSEWHERE):
        return source, None
    architecture, _, tag = source.partition("/")
    return architecture, tag or None


def _check_names(
    open_clip: Any, name: str, architecture: str, tag: str | None, *, needs_tag: bool
) -> None:
    """Check that open_clip knows a network, and the weights that are asked for.

    Raises:
        UnknownNameError: It does not.
        OptionError: No weights are named, and random ones were not asked for.
    """
    if architecture.startswith(_ELSEWHERE):
        return
    known = open_clip.list_models()
    if architecture not in known:
        raise unknown("model", architecture, known, "open_clip.list_models() has their names.")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag is None and needs_tag:
        which = f"Add a tag, as in {name}/{tags[0]}" if tags else "open_clip has none for it"
        raise OptionError(
            f"{name!r} names no weights. {which}; or pass weights='none' for random ones, or a "
            "file."
        )
    if tag is not None and tag not in tags:
        raise unknown("tag", tag, tags, f"{architecture} has weights {', '.join(tags) or '-'}.")


def _fetched(source: str, load: Any) -> Any:
    """Load a part of a network.

    Raises:
        WeightsError: It cannot be loaded, most often because it cannot be downloaded.
    """
    try:
        return load()
    except Exception as error:  # open_clip and what it calls raise nearly anything
        reason = describe_error(error).splitlines()[0]
        raise WeightsError(
            f"The network {source!r} of open_clip cannot be had: {reason}. Pass weights='none' for "
            "random weights, or local-dir:FOLDER for a folder with a network and its tokenizer."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from logging: random weights were asked for, and what fails is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _preprocess(name: str, settings: dict[str, Any]) -> Preprocess:
    """Return the preprocessing of a network, from its settings in open_clip.

    Raises:
        ModelError: It fills bars around the picture.
    """
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode = settings["resize_mode"]
    if mode not in ("shortest", "squash"):
        raise ModelError(
            f"{name!r} resizes pictures by {mode!r}, which limelight does not do. Prepare the "
            "images with open_clip, and call limelight.explain(model, (images, tokens))."
        )
    return Preprocess(
        size=(height, width),
        resize=(height, width) if mode == "squash" or height != width else height,
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        interpolation=settings["interpolation"],
    )
