"""Networks of transformers: `hf:NAME_OR_FOLDER`, with their image processor. Extra `hf`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from limelight.errors import ModelError, OptionError
from limelight.models.hub_source import HubSource, without_bars
from limelight.models.network import Network
from limelight.models.prompted import Prompted, compare_embeddings, compare_pairs
from limelight.photos.preprocess import Preprocess

#: The names of resize filters by Pillow's numbers.
_FILTER_NAMES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}

#: Networks that read a picture and a text together.
_OF_PAIRS = frozenset({"CLIPSegForImageSegmentation", "BlipForImageTextRetrieval"})


def load_hub(name: str, weights: str | Path, classes: Sequence[str] | None) -> Network:
    """Load a network of transformers from the hub or a folder, as the class it was saved as.

    For a model of images and texts, `classes` are the texts, and the logits say how well each fits.

    Raises:
        ModelError: transformers is not installed, or the network does not take a picture.
        WeightsError: It cannot be downloaded or read.
        OptionError: A model of images and texts was given no texts.
    """
    source = HubSource.of(name)
    with without_bars():
        return _load_parts(source, weights, classes)


def _load_parts(source: HubSource, weights: str | Path, classes: Sequence[str] | None) -> Network:
    import transformers

    name = source.name
    config = source.fetch(transformers.AutoConfig)
    kind = source.kind(config)
    if kind is None or "pixel_values" not in signature(kind.forward).parameters:
        raise ModelError(
            f"{name!r} is a {', '.join(config.architectures or ['network of an unknown kind'])}; "
            "one that takes a picture (pixel_values) was expected. Load it yourself and call "
            "limelight.explain with a dict of what it takes."
        )
    model = source.model(kind, config, weights)
    processor = source.fetch(transformers.AutoImageProcessor)
    names = _names(config)
    if hasattr(model, "get_text_features") or type(model).__name__ in _OF_PAIRS:
        if not classes:
            raise OptionError(
                f"{name!r} compares pictures with texts. Pass the texts, or a file with one per "
                "line, as classes=[...]."
            )
        tokenizer = source.fetch(transformers.AutoTokenizer)
        model, names = _prompted(model, tokenizer, classes), None
    return Network(
        name=name,
        model=model,
        preprocess=preprocess_of(processor.to_dict()),
        classes=names,
        weights=source.weights_in_words(weights),
    )


def _prompted(model: nn.Module, tokenizer: Any, texts: Sequence[str]) -> Prompted:
    """Return a model with texts filled in.

    Raises:
        OptionError: There are several texts, and the model reads a picture together with one.
    """
    read = partial(_tokens, model, tokenizer)
    in_pairs = type(model).__name__ in _OF_PAIRS
    compare = compare_pairs if in_pairs else compare_embeddings
    return Prompted(model, read(texts), tokenizer, compare, read)


def _tokens(model: nn.Module, tokenizer: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """Return the tokens of texts, `[P, N]` each, by the names under which a model takes them.

    Raises:
        OptionError: As `_prompted`.
    """
    if type(model).__name__ in _OF_PAIRS and len(texts) > 1:
        raise OptionError(
            f"A {type(model).__name__} reads a picture and a text together, and {len(texts)} texts "
            f"were given. Pass one, as in classes=[{texts[0]!r}], and load it again for another."
        )
    full: dict[str, Any] = {"padding": True}
    if "siglip" in type(model).__name__.lower():
        # It was trained on texts padded to its full length, and has no mask. The tokeniser of
        # SigLIP 2 does not know that length.
        longest = model.config.text_config.max_position_embeddings  # type: ignore[union-attr]
        full = {"padding": "max_length", "max_length": min(longest, tokenizer.model_max_length)}
    tokens = tokenizer(list(texts), truncation=True, return_tensors="pt", **full)
    # Tokenisers may return more than the model takes.
    taken = signature(model.forward).parameters
    return {name: tensor for name, tensor in tokens.items() if name in taken}


def preprocess_of(processor: dict[str, Any]) -> Preprocess:
    """Return the preprocessing of an image processor, from its settings.

    Raises:
        ModelError: It does something that limelight does not do.
    """
    size = processor.get("size") or {}
    crop = processor.get("crop_size") if processor.get("do_center_crop") else None
    resize: int | tuple[int, int] | None = None
    longest = None
    if processor.get("do_resize", True):
        if "height" in size:
            resize = (size["height"], size["width"])
        elif "shortest_edge" in size:
            resize, longest = size["shortest_edge"], size.get("longest_edge")
        else:
            raise ModelError(
                f"The image processor resizes to {size}, which limelight does not do. Load the "
                "model yourself, prepare the images with its processor, and call limelight.explain."
            )
    share = processor.get("crop_pct")
    if share and isinstance(resize, int) and resize < 384:  # as ConvNeXt's processor does
        crop, resize = {"height": resize, "width": resize}, int(resize / share)
    elif share and isinstance(resize, int):
        resize = (resize, resize)
    whole = resize if isinstance(resize, tuple) else None
    normalised = processor.get("do_normalize", True)
    return Preprocess(
        size=(crop["height"], crop["width"]) if crop else whole,
        resize=resize,
        longest=longest,
        mean=tuple(processor["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        std=tuple(processor["image_std"]) if normalised else (1.0, 1.0, 1.0),
        interpolation=_FILTER_NAMES.get(int(processor.get("resample") or 2), "bilinear"),
    )


def _names(config: Any) -> tuple[str, ...] | None:
    """Return the names of the classes; None when they are placeholders, LABEL_0 and so on."""
    labels = getattr(config, "id2label", None) or {}
    names = tuple(str(labels[index]) for index in sorted(labels, key=int))
    placeholder = all(text == f"LABEL_{index}" for index, text in enumerate(names))
    return None if placeholder else names
