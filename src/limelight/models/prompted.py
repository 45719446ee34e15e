"""Networks of pictures and texts with the texts filled in, so that they take pictures alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from limelight.errors import ModelError
from limelight.models.network import Network
from limelight.targets.outputs import find_logits
from limelight.text_words import words_of

#: Returns how well each of P texts fits each of B pictures, `[B, P]`, or `[B, P, H, W]` for each
#: pixel, given a model, pictures `[B, C, H, W]`, and the tokens of the texts by their names.
CompareTexts = Callable[[Any, Tensor, Mapping[str, Tensor]], Tensor]

#: Returns the tokens of texts, `[P, N]` each, by the names under which the model takes them.
ReadTexts = Callable[[Sequence[str]], Mapping[str, Tensor]]


class Prompted(nn.Module):
    """A model of pictures and texts with the texts filled in: from images to logits, one per text.

    Attributes:
        model: The model.
        words: The words of each text.
    """

    def __init__(
        self,
        model: nn.Module,
        tokens: Mapping[str, Tensor],
        tokenizer: Any,
        compare: CompareTexts,
        read: ReadTexts | None = None,
    ) -> None:
        """Fill in the texts.

        Args:
            model: The model.
            tokens: What the tokenizer made of the texts, `[P, N]` each: first the numbers of the
                tokens.
            tokenizer: The tokenizer.
            compare: How the model compares pictures with texts.
            read: Makes the tokens of other texts; None if there are to be no others.
        """
        super().__init__()
        self.model, self._compare, self._names = model, compare, tuple(tokens)
        self._tokenizer, self._read = tokenizer, read
        ids = tokens[self._names[0]].tolist()
        self.words = tuple(words_of(row, tokenizer) for row in ids)
        for name, tensor in tokens.items():
            self.register_buffer(f"text_{name}", tensor, persistent=False)

    @property
    def tokens(self) -> dict[str, Tensor]:
        """The tokens of the texts, `[P, N]` each, by the names under which the model takes them."""
        return {name: getattr(self, f"text_{name}") for name in self._names}

    @property
    def takes_texts(self) -> bool:
        """Whether other texts can be filled in."""
        return self._read is not None

    def with_texts(self, texts: Sequence[str]) -> Prompted:
        """Return the same model, not a copy of it, with other texts filled in.

        Raises:
            ModelError: How texts become tokens is not known.
            OptionError: The model does not take so many.
        """
        if self._read is None:
            raise ModelError(
                "How texts become the tokens of this model is not known. Load it by "
                "limelight.load_model, with the texts as classes=[...]."
            )
        device = next(iter(self.tokens.values())).device
        tokens = {name: each.to(device) for name, each in self._read(texts).items()}
        made = Prompted(self.model, tokens, self._tokenizer, self._compare, self._read)
        return made.train(self.training)

    def forward(self, images: Tensor, **tokens: Tensor) -> Tensor:
        """Return how well each text fits each image, `[B, P]`, or `[B, P, H, W]`.

        `tokens` take the place of the texts that are filled in.
        """
        return self._compare(self.model, images, tokens or self.tokens)


def takes_texts(network: Network) -> bool:
    """Return whether a network compares pictures with texts, and other texts can be filled in."""
    return isinstance(network.model, Prompted) and network.model.takes_texts


def with_texts(network: Network, texts: Sequence[str]) -> Network:
    """Return a network of pictures and texts with other texts filled in; it shares its weights.

        network = limelight.load_model("hf:openai/clip-vit-base-patch32", classes=["a cat"])
        other = with_texts(network, ["a dog", "a dog on a sofa"])

    Raises:
        ModelError: The network takes no texts.
        OptionError: It does not take so many.
    """
    if not isinstance(network.model, Prompted):
        raise ModelError(
            f"{network.name!r} compares pictures with no texts, so none can be filled in. A "
            "network of pictures and texts was expected, such as CLIP."
        )
    return replace(network, model=network.model.with_texts(texts), classes=tuple(texts))


def compare_embeddings(model: Any, images: Tensor, tokens: Mapping[str, Tensor]) -> Tensor:
    """Compare all pictures with all texts by their embeddings: `logits_per_image`, `[B, P]`."""
    return find_logits(model(pixel_values=images, **tokens))


def compare_pairs(model: Any, images: Tensor, tokens: Mapping[str, Tensor]) -> Tensor:
    """Compare each picture with one text, which the network reads together, `[B, 1]`.

    The logit is that of "they match", less that of "they do not" if there are two; for a segmenter,
    `[B, 1, H, W]`, it is that of each pixel.
    """
    batch = len(images)
    repeated = {name: tensor.expand(batch, *tensor.shape[1:]) for name, tensor in tokens.items()}
    logits = find_logits(model(pixel_values=images, **repeated))
    if logits.ndim == 2:
        logits = logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0)
    return logits[:, None]


def compare_encoded(model: Any, images: Tensor, tokens: Mapping[str, Tensor]) -> Tensor:
    """Compare all pictures with all texts by the encoders of open_clip, `[B, P]`."""
    (text,) = tokens.values()
    image = model.encode_image(images, normalize=True)
    logits: Tensor = model.logit_scale.exp() * image @ model.encode_text(text, normalize=True).T
    bias = getattr(model, "logit_bias", None)
    return logits if bias is None else logits + bias
