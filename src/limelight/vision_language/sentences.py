"""The sentence that a model is given: its prompt and an answer, generated or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.errors import ModelError, TargetError
from limelight.inputs import ModelInputs
from limelight.models.vision_language import VisionLanguageModel
from limelight.runtime.autograd import no_grad
from limelight.runtime.execution import run_network
from limelight.runtime.generation import generated_tokens
from limelight.targets.outputs import find_logits
from limelight.vision_language.prompts import Prompt

#: The argument that says at how many of the last tokens a model returns logits.
_KEPT = "logits_to_keep"


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """A sentence that is an input of the model as a whole: teacher forcing.

    Attributes:
        ids: All its tokens: prompt and answer.
        first: The place of the answer's first token.
        added: The model's keyword arguments that hold the sentence, or say how it is read.
    """

    ids: tuple[int, ...]
    first: int
    added: dict[str, Any]

    @property
    def answer(self) -> tuple[int, ...]:
        """The tokens of the answer."""
        return self.ids[self.first :]

    @property
    def tail(self) -> tuple[int, ...]:
        """The tokens of the answer, with the one before them, which predicts the first."""
        return self.ids[self.first - 1 :]

    def inputs(self, prompt: dict[str, Any], *, everywhere: bool = False) -> dict[str, Any]:
        """Return the model's keyword arguments: those of a prompt, with this sentence.

        Args:
            prompt: The arguments of the prompt.
            everywhere: Whether logits are wanted at all tokens, and not only at the answer's.
        """
        given = prompt | self.added
        return given if not everywhere else {k: v for k, v in given.items() if k != _KEPT}


def write_sentence(
    network: VisionLanguageModel, prompt: Prompt, answer: str | None, most: int
) -> Sentence:
    """Return the sentence with an answer: the user's own, or one that the model generates.

    1. Generate; for an answer of the user's own, a single token, to see where the answer begins.
    2. Find where the answer begins, and cut it where it ends.
    3. Make the model's arguments with the whole sentence among them.

    Raises:
        TargetError: The answer is empty, or has words that the tokenizer does not know.
        ModelError: Words of the answer would see the words behind them.
    """
    started = _begun(network, prompt)
    ids, first = _generated(network, started, most if answer is None else 1)
    if answer is None:
        written = _ended(network, ids[first:])
    else:
        written = network.tokenizer(answer, add_special_tokens=False)["input_ids"]
        _check_known(network, answer)
    if not written or not network.tokenizer.decode(written, skip_special_tokens=True).strip():
        raise TargetError(
            "The given answer is empty; pass a text with a word in it."
            if answer is not None
            else "The model's answer is empty: it ends its sentence at once. Ask something else, "
            "or pass a text of your own as the answer."
        )
    whole = (*ids[:first], *map(int, written))
    return _forced(network, started, whole, first)


def _check_known(network: VisionLanguageModel, answer: str) -> None:
    """Refuse words that one token for all unknown ones stands for: they would be left out."""
    read, unknown = network.tokenizer, network.tokenizer.unk_token_id
    words = [
        word
        for word in dict.fromkeys(answer.split())
        if unknown in read(word, add_special_tokens=False)["input_ids"]
    ]
    if words:
        raise TargetError(
            f"The model's tokenizer does not know {', '.join(map(repr, words))}, so that the "
            "model cannot say it. Leave it out of the answer, or write it as the model would."
        )


def log_probabilities(output: Any, tail: Sequence[int]) -> list[float]:
    """Return the log-probability of each token of an answer, `log p(w_t | w_<t, picture)`.

    Args:
        output: What the model returned for the sentence.
        tail: The tokens of the answer, with the one before them.
    """
    logits = find_logits(output)[0, -len(tail) : -1].float()
    wanted = torch.tensor(tail[1:], device=logits.device)
    values: list[float] = logits.log_softmax(-1).gather(1, wanted[:, None])[:, 0].tolist()
    return values


def run_sentence(network: VisionLanguageModel, inputs: dict[str, Any]) -> Any:
    """Return what the model returns for a sentence, without a graph."""
    with no_grad():
        return run_network(network.model, ModelInputs.of(inputs))


def _begun(network: VisionLanguageModel, prompt: Prompt) -> dict[str, Any]:
    """Return the inputs to generate from, with the text that the answer begins with."""
    if not prompt.begins:
        return prompt.inputs
    start = _decoder_start(network)
    tokens = network.tokenizer(prompt.begins, add_special_tokens=False)["input_ids"]
    device = next(network.model.parameters()).device
    ids = torch.tensor([[*start, *tokens]], dtype=torch.long, device=device)
    return prompt.inputs | {"decoder_input_ids" if network.writes_apart else "input_ids": ids}


def _decoder_start(network: VisionLanguageModel) -> list[int]:
    """Return the token that begins a sentence, as a list; [] if there is none."""
    for config in (network.model.generation_config, network.model.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            number = getattr(config, name, None)
            if isinstance(number, int):
                return [number]
    return []


def _generated(
    network: VisionLanguageModel, inputs: dict[str, Any], most: int
) -> tuple[list[int], int]:
    """Return a whole generated sentence, and the place where the answer begins."""
    key = "decoder_input_ids" if network.writes_apart else "input_ids"
    if key not in inputs:
        ids = _tokens(network, inputs, most)
        return ids, _behind_beginning(network, ids)
    prompt: list[int] = inputs[key][0].tolist()
    kept, ends = _without_end(network, prompt)
    for tried in (kept, kept + ends):
        ids = _tokens(network, _with_prompt(inputs, key, tried), most)
        # A model may replace the first token, and leave out the last.
        if ids[1 : len(kept)] == kept[1:] and len(ids) > len(kept):
            return ids, len(kept)
    # Models that embed their prompt return the new tokens alone.
    ids = _tokens(network, inputs, most)
    return prompt + _without_beginning(network, ids), len(prompt)


def _tokens(network: VisionLanguageModel, inputs: dict[str, Any], most: int) -> list[int]:
    tokens: list[int] = generated_tokens(network.model, inputs, most)[0].tolist()
    return tokens


def _without_end(network: VisionLanguageModel, ids: list[int]) -> tuple[list[int], list[int]]:
    """Return a prompt without the tokens that its tokenizer ends a text with, and such a token."""
    tokenizer, kept = network.tokenizer, list(ids)
    ends = [end for end in (tokenizer.sep_token_id, tokenizer.eos_token_id) if end is not None]
    while len(kept) > 1 and kept[-1] in ends:
        kept.pop()
    return kept, ids[len(kept) : len(kept) + 1] or ends[:1]


def _with_prompt(inputs: dict[str, Any], key: str, ids: Sequence[int]) -> dict[str, Any]:
    """Return inputs with another prompt, shorter or longer by a few tokens."""
    given: Tensor = inputs[key]
    more = max(0, len(ids) - given.shape[1])
    along = {
        name: _continued(name, value, more, 0)[:, : len(ids)]
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.shape[:2] == given.shape
    }
    return inputs | along | {key: given.new_tensor([list(ids)])}


def _behind_beginning(network: VisionLanguageModel, ids: Sequence[int]) -> int:
    """Return the place behind the tokens that begin a generated sentence."""
    begins = special_tokens(network, ids) - ends_of(network)
    first = 1
    while first < len(ids) and ids[first] in begins:
        first += 1
    return first


def _without_beginning(network: VisionLanguageModel, ids: list[int]) -> list[int]:
    """Return new tokens without one that begins a sentence."""
    return ids[1:] if ids and ids[0] == network.tokenizer.bos_token_id else ids


def special_tokens(network: VisionLanguageModel, ids: Sequence[int]) -> frozenset[int]:
    """Return those of some tokens that stand for no text: they are left out where it is read."""
    decode = network.tokenizer.decode
    return frozenset(
        token
        for token in set(ids)
        if decode([token]) and not decode([token], skip_special_tokens=True)
    )


def ends_of(network: VisionLanguageModel) -> frozenset[int]:
    """Return the tokens that end an answer."""
    found = set[int]()
    configs = [network.model.generation_config, network.model.config]
    configs += [getattr(network.model.config, "text_config", None), network.tokenizer]
    for config in filter(None, configs):
        for name in ("eos_token_id", "sep_token_id", "pad_token_id"):
            value = getattr(config, name, None)
            found |= set(value if isinstance(value, list | tuple) else [value]) - {None}
    return frozenset(found)


def _ended(network: VisionLanguageModel, ids: Sequence[int]) -> list[int]:
    """Return an answer up to the token that ends it."""
    ends = ends_of(network)
    stop = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return list(ids[:stop])


def _forced(
    network: VisionLanguageModel, inputs: dict[str, Any], ids: Sequence[int], first: int
) -> Sentence:
    """Return a sentence as an input of the model: teacher forcing."""
    device = next(network.model.parameters()).device
    tokens = torch.tensor([list(ids)], dtype=torch.long, device=device)
    count = len(ids) - first + 1
    options = {"use_cache": False, _KEPT: count, "return_dict": True}
    added: dict[str, Any] = {k: v for k, v in options.items() if k in network.arguments}
    if network.writes_apart:
        added["decoder_input_ids"] = tokens
        if "decoder_attention_mask" in inputs:
            added["decoder_attention_mask"] = torch.ones_like(tokens)
        return Sentence(tuple(ids), first, added)
    added["input_ids"] = tokens
    if "input_ids" not in inputs:
        return Sentence(tuple(ids), first, added)
    shape = inputs["input_ids"].shape
    along = {
        name: value[:, :first]
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.shape[:2] == shape and name != "input_ids"
    }
    return _first_causal(network, inputs, Sentence(tuple(ids), first, added), along)


def _continued(name: str, value: Tensor, count: int, kind: int) -> Tensor:
    """Return what goes along with a prompt's tokens, `[1, L, ...]`, for `count` tokens more."""
    if value.ndim > 2:  # such as which photos a token sees: those that the last one saw
        return torch.cat([value, value[:, -1:].expand(-1, count, *value.shape[2:])], 1)
    filling = 1 if name == "attention_mask" else kind
    return torch.cat([value, value.new_full((1, count), filling)], 1)


def _first_causal(
    network: VisionLanguageModel,
    inputs: dict[str, Any],
    sentence: Sentence,
    along: dict[str, Tensor],
) -> Sentence:
    """Return a sentence with all that goes along with its tokens, so that no word sees later ones.

    What the mask says of the answer is known. What kind of tokens the answer's are, if the model is
    told, is measured: of the kinds 0 and 1, it is the first with which the logits of the answer do
    not change when its last token does.
    """
    count = len(sentence.answer)

    def continued(kind: int) -> Sentence:
        filled = {name: _continued(name, value, count, kind) for name, value in along.items()}
        return Sentence(sentence.ids, sentence.first, sentence.added | filled)

    if all(name == "attention_mask" or value.ndim > 2 for name, value in along.items()):
        return continued(0)
    for kind in (0, 1):
        if _is_causal(network, inputs, continued(kind)):
            return continued(kind)
    raise ModelError(
        f"In {type(network.model).__name__}, words of an answer see the words behind them, so that "
        "no pass over the whole answer says how probable each word is. A model that reads from "
        "left to right was expected."
    )


def _is_causal(network: VisionLanguageModel, inputs: dict[str, Any], sentence: Sentence) -> bool:
    """Return whether the logits of an answer stay the same when its last token changes."""
    given = sentence.inputs(inputs)
    changed = given["input_ids"].clone()
    changed[0, -1] = min(ends_of(network), default=0)  # which no answer holds
    one, other = (
        find_logits(run_sentence(network, given | {"input_ids": ids}))[0, -len(sentence.tail) : -1]
        for ids in (given["input_ids"], changed)
    )
    return bool((one - other).abs().max() <= 1e-3 * (one.max() - one.min()))
