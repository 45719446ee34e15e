"""Targets for language and embeddings: how probable words are, how similar a vector is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from limelight.errors import TargetError
from limelight.inputs import as_tensor
from limelight.targets.context import TargetContext
from limelight.targets.outputs import find_logits, may_hold_words, parts, returned
from limelight.targets.scores import ExplainedTokens, RowTarget, Scores, rows_of_image
from limelight.targets.tables import shape_changed


@dataclass(frozen=True, slots=True, eq=False)
class Words(RowTarget):
    """The log-probability of words, given the picture and the words before them.

    `sum_t log p(w_t | w_<t, picture)`, as for captions and answers in Selvaraju et al. 2017,
    sections 5 and 8. The sentence is an input of the model; the model's logits `[B, N, V]` at a
    word are about the next word.

        Words(ids)                 the whole sentence, except for the token that begins it
        Words(ids, at=3)           the fourth token
        Words(ids, at=[3, 4])      a word of two tokens

    Attributes:
        ids: The tokens of the sentence that is the model's input, `[N]`, or `[B, N]`.
        at: Which tokens are explained, from 1 (token 0 begins the sentence, and nothing predicts
            it); None for all.
        text: The words themselves, to label the map with.
    """

    reads_logits = True

    ids: Sequence[int] | Tensor
    at: int | Sequence[int] | None = None
    text: str = ""

    def label(self) -> str:
        """Return what is explained, in words."""
        if self.text:
            return self.text
        if self.at is None:
            return "the sentence"
        return f"token {self.at}" if isinstance(self.at, int) else f"tokens {list(self.at)}"

    def read(self, output: Any, rows: Tensor, context: TargetContext) -> Tensor:
        """Return the log-probability of the words in each row of an output, `[M]`.

        1. Read the sentences as token numbers, one per image or one for all.
        2. Find the logits at the words of the sentence.
        3. Find which words are explained.
        4. Sum the log-probabilities of these words, each read at the word before it.

        Raises:
            TargetError: The tokens do not fit the output.
        """
        if not may_hold_words(output, context.spec.key):
            raise TargetError(
                f"Words are explained by the logits of a language model, [B, N, V]; the model "
                f"returned {', '.join(parts(returned(output)))}. Wrap it so that it returns the "
                "logits of its text decoder, or say with output=... where they are."
            )
        logits = find_logits(output, context.spec.key)
        # 1. The sentences.
        ids = torch.as_tensor(self.ids, device=logits.device)
        ids = ids[None] if ids.ndim == 1 else ids
        if ids.ndim != 2 or len(ids) not in (1, context.batch) or ids.is_floating_point():
            raise TargetError(
                f"The tokens have shape {list(ids.shape)}; integers [N] were expected, or "
                f"[{context.batch}, N], one sentence per image."
            )
        # 2. The logits.
        count = ids.shape[1]
        if logits.ndim != 3 or len(logits) != len(rows):
            raise shape_changed(logits, rows, "N, V")
        # A model may put picture tokens in front of the sentence; the words come last.
        logits = logits[:, -count:]
        low, high = map(int, ids.aminmax())
        if logits.shape[1] != count or low < 0 or high >= logits.shape[2]:
            raise TargetError(
                f"There are {count} tokens from number {low} to {high}, and the model returned "
                f"logits {list(logits.shape)}. Give it the same sentence that is explained."
            )
        # 3. The words.
        at = self._explained(count)
        if not at or not all(isinstance(t, int) and 1 <= t < count for t in at):
            raise TargetError(
                f"at is {self.at}; positions from 1 to {count - 1} were expected, of a sentence of "
                f"{count} tokens whose first begins it."
            )
        # 4. Their log-probabilities.
        positions = torch.tensor(list(at), device=logits.device)
        wanted = ids.expand(context.batch, count)[rows.to(ids.device)][:, positions]
        chosen = logits[:, positions - 1]
        precise = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
        log_probabilities = precise.log_softmax(-1)
        return log_probabilities.gather(-1, wanted[..., None])[..., 0].sum(1)

    def _explained(self, count: int) -> Sequence[int]:
        """Return the numbers of the tokens that are explained, of a sentence of so many."""
        if self.at is None:
            return range(1, count)
        return [self.at] if isinstance(self.at, int) else self.at

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the log-probability of the words, with their probability."""
        scores = super(Words, self).score(output, context)
        ids = as_tensor(self.ids)
        ids = ids.expand(context.batch, ids.shape[-1])
        return scores._replace(
            probability=lambda *rows: scores.read_again(*rows).exp(),
            sentence=ExplainedTokens(ids, tuple(self._explained(ids.shape[1]))),
        )

    def of_image(self, image: int, axes: int) -> Self:  # noqa: ARG002 (as ScoreTarget)
        """Return the words of one image of the batch."""
        return replace(self, ids=rows_of_image(self.ids, image, 1))


def each_word(
    ids: Sequence[int] | Tensor, words: Sequence[str] | None = None, *, first: int = 1
) -> list[Words]:
    """Return a target for each token of a sentence `[N]`, for `explain_each` to make a map of each.

    Args:
        ids: The tokens of the sentence that is the model's input.
        words: The text of each token, as a tokenizer gives it.
        first: The first token to explain, such as the one after a question.

    Raises:
        TargetError: There is not one text per token.
    """
    tokens = [int(i) for i in as_tensor(ids).flatten().tolist()]
    if words is not None and len(words) != len(tokens):
        raise TargetError(f"There are {len(words)} words for {len(tokens)} tokens.")
    return [Words(tokens, t, "" if words is None else words[t]) for t in range(first, len(tokens))]


@dataclass(frozen=True, slots=True, eq=False)
class Similarity(RowTarget):
    """How similar the model's embedding is to another vector: `e . v / (|e| |v|)`.

    The vector is the model's output for another picture, the embedding of a text, or the mean over
    a class (Chen et al. 2020, "Adapting Grad-CAM for embedding networks"):

        Similarity(model(other_image)[0])
        Similarity()                       of two images in a batch: of each to the other

    Attributes:
        to: `[D]`, or one per image `[B, D]`. None for a batch of two images: the vector of the
            other one.
        text: What the vector stands for, to label the map with.
    """

    reads_logits = True

    to: Tensor | None = None
    text: str = ""

    def label(self) -> str:
        """Return what is explained, in words."""
        return f"similarity to {self.text or 'a vector'}"

    def score(self, output: Any, context: TargetContext) -> Scores:
        """Return the cosine similarity of each image.

        Raises:
            TargetError: The vectors do not fit the output, or there are none and not two images.
        """
        if self.to is not None:
            return super(Similarity, self).score(output, context)
        if context.batch != 2:
            raise TargetError(
                "Similarity() compares the two images of a batch, and there are "
                f"{context.batch}. Pass the vector to compare with: Similarity(vector)."
            )
        others = replace(self, to=find_logits(output, context.spec.key).detach().flip(0))
        labels = tuple(f"similarity to {self.text or f'image {other}'}" for other in (1, 0))
        return others.score(output, context)._replace(labels=labels)

    def read(self, output: Any, rows: Tensor, context: TargetContext) -> Tensor:
        """Return the cosine similarity of each row of an output, `[M]`.

        Raises:
            TargetError: The vectors do not fit the output.
        """
        embedding = find_logits(output, context.spec.key)
        assert self.to is not None, "score() fills in the vectors of a pair"
        to = as_tensor(self.to).detach().to(embedding)
        to = to[None] if to.ndim == 1 else to
        if embedding.ndim != 2 or len(embedding) != len(rows):
            raise TargetError(
                f"For a similarity the model has to return embeddings [B, D]; it returned "
                f"{list(embedding.shape)}. Pick them with output=..., or pool them: pass a "
                "callable from output to scores [B]."
            )
        if to.ndim != 2 or len(to) not in (1, context.batch) or to.shape[1] != embedding.shape[1]:
            raise TargetError(
                f"The vector has shape {list(to.shape)}; [{embedding.shape[1]}] was expected, or "
                f"one per image, {[context.batch, embedding.shape[1]]}."
            )
        if not bool(to.any(1).all()):
            raise TargetError("The vector is zero; nothing is similar to it.")
        wanted = to.expand(context.batch, -1)[rows.to(to.device)]
        return cosine_similarity(embedding, wanted, dim=1)

    def of_image(self, image: int, axes: int) -> Self:  # noqa: ARG002 (as ScoreTarget)
        """Return the vector of one image of the batch."""
        return self if self.to is None else replace(self, to=rows_of_image(self.to, image, 1))
