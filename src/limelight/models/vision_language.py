"""Vision-language models: networks that answer in words about photos, with their processors."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limelight.errors import ModelError
from limelight.misnamed import checked_arguments
from limelight.models.hub_source import HubSource, without_bars
from limelight.models.placement import library_defaults, place


@dataclass(frozen=True, slots=True, repr=False)
class VisionLanguageModel:
    """A model that writes words about photos, with what makes its inputs.

    Attributes:
        name: The name under which it was loaded.
        model: The network, in evaluation mode, with `generate` as networks of transformers have it.
        processor: Makes the network's inputs from photos and text, as processors of transformers
            do; it has a `tokenizer`.
        weights: Where its weights come from, in words.
    """

    name: str
    model: Any
    processor: Any
    weights: str = "as the model was given"

    def __post_init__(self) -> None:
        """Refuse a model that takes no picture or generates no text.

        Raises:
            ModelError: It is such a model, or the processor has no tokenizer.
        """
        if not isinstance(self.model, nn.Module):
            raise ModelError(
                f"The model is a {type(self.model).__name__}; an nn.Module of transformers was "
                "expected. limelight.load_vision_language('hf:NAME_OR_FOLDER') loads one."
            )
        if not hasattr(self.processor, "tokenizer"):
            raise ModelError(
                f"The processor is a {type(self.processor).__name__} without a tokenizer; one that "
                "takes photos and text was expected. Of an image processor and a tokenizer "
                "limelight.models.vision_language.PhotoTextProcessor makes one."
            )
        check_kind(type(self.model), self.name)

    def __repr__(self) -> str:
        """Return name, class and size of the model, and the class of the processor."""
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"VisionLanguageModel({self.name}, {type(self.model).__name__}, "
            f"{count:,} parameters, {type(self.processor).__name__})"
        )

    @property
    def tokenizer(self) -> Any:
        """What makes token numbers of text, and text of them."""
        return self.processor.tokenizer

    @property
    def arguments(self) -> frozenset[str]:
        """The names of what the network's forward takes."""
        return frozenset(signature(type(self.model).forward).parameters)

    @property
    def writes_apart(self) -> bool:
        """Whether the sentence is an input of its own, of a decoder behind an encoder."""
        arguments, config = self.arguments, getattr(self.model, "config", None)
        decoder_alone = "decoder_input_ids" in arguments and "input_ids" not in arguments
        return decoder_alone or bool(getattr(config, "is_encoder_decoder", False))


class PhotoTextProcessor:
    """A processor made of an image processor and a tokenizer, for captioners that come with both.

    Photos become `pixel_values`, and text, if there is any, becomes `input_ids`.
    """

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        """Keep both."""
        self.image_processor, self.tokenizer = image_processor, tokenizer

    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> dict[str, Any]:
        """Return what both make."""
        inputs = dict(self.image_processor(images, **options))
        return inputs if text is None else inputs | dict(self.tokenizer(text, **options))


@checked_arguments
def load_vision_language(
    name: str,
    *,
    weights: str | Path = "default",
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> VisionLanguageModel:
    """Load a model that writes words about photos, with its processor.

    Its weights require no gradient, which saves a third of the memory of a map.

        model = limelight.load_vision_language("hf:llava-hf/llava-1.5-7b-hf", device="cuda")
        limelight.ask("cat.jpg", "What is on the sofa?", model=model)

    Args:
        name: `hf:NAME_OR_FOLDER`: a repository of the hub, or a folder that `save_pretrained` of
            the model and of its processor wrote; for captioners without one, of its image processor
            and its tokenizer.
        weights: `default` (its own), `none` (random, from a fixed seed), or a file with a state
            dict.
        device: The device of the network.
        dtype: Its floating point type; None for the one that it was saved in.

    Raises:
        ModelError: transformers is not installed, or the model takes no picture, or generates no
            text, or its class is not one of transformers.
        WeightsError: Something cannot be downloaded or read, or does not fit.
        OptionError: The device does not exist.
    """
    source = HubSource.of(name)
    with without_bars(), library_defaults():
        loaded = _load(source, weights)
    place(loaded.model, name, device, dtype)
    # A graph would keep what the gradients of weights need, which nothing here asks for.
    loaded.model.requires_grad_(False)
    return loaded


def _load(source: HubSource, weights: str | Path) -> VisionLanguageModel:
    import transformers

    config = source.fetch(transformers.AutoConfig)
    kind = source.kind(config)
    if kind is None:
        named = ", ".join(config.architectures or ["network of an unknown kind"])
        raise ModelError(
            f"{source.name!r} is a {named}, which the installed transformers "
            f"{transformers.__version__} does not have. Install one that has it; or load model and "
            "processor yourself, and pass limelight.VisionLanguageModel(name, model, processor)."
        )
    check_kind(kind, source.name)
    processor = _processor(source)
    model = source.model(kind, config, weights)
    return VisionLanguageModel(source.name, model, processor, source.weights_in_words(weights))


def _processor(source: HubSource) -> Any:
    """Return the processor; of an image processor and a tokenizer, where there is no other."""
    import transformers

    processor = source.fetch(transformers.AutoProcessor)
    if hasattr(processor, "tokenizer"):
        return processor
    return PhotoTextProcessor(
        source.fetch(transformers.AutoImageProcessor), source.fetch(transformers.AutoTokenizer)
    )


#: What a picture is called among the inputs of networks of transformers.
_PICTURES = ("pixel_values", "flattened_patches", "images")


def check_kind(kind: Any, name: str) -> None:
    """Refuse a class of networks that takes no picture, or generates no text.

    Raises:
        ModelError: It is such a class.
    """
    taken = signature(kind.forward).parameters
    if not any(picture in taken for picture in _PICTURES):
        raise ModelError(
            f"{name!r} is a {kind.__name__}, which takes no picture. A model that answers about "
            "photos was expected, such as LLaVA or BLIP."
        )
    if not callable(getattr(kind, "generate", None)):
        raise ModelError(
            f"{name!r} is a {kind.__name__}, which generates no text. A model that answers about "
            "photos was expected, such as LLaVA or BLIP; limelight.load_model loads classifiers "
            "and models that compare photos with texts."
        )
