"""Folders of tiny models that answer about photos and write captions, as save_pretrained does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from helpers.vision_language import SEES, SIDE, blip_config, drawn, hf, reads, tokenizers

WORDS = "a cat red blue disc on the mat and what is it in picture ? . , green ring dog"


def tokenizer(*special: str) -> Any:
    """Return a tokenizer of whole words."""
    every = dict.fromkeys(["<pad>", "<bos>", "<eos>", "<unk>", *special, *WORDS.split()])
    model = tokenizers.models.WordLevel({word: n for n, word in enumerate(every)}, "<unk>")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words = hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
    )
    words.add_special_tokens({"additional_special_tokens": list(special)})
    return words


def _saved(folder: Path, kind: Any, config: Any, words: Any, processor: Any) -> str:
    """Save a network of drawn weights and what makes its inputs; return its name for --model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = drawn(kind(config))
    for head in model.modules():
        if getattr(head, "out_features", 0) == len(words):
            # Drawn weights may end a sentence at once, or write the token of a photo.
            head.weight.data[: -len(WORDS.split())] = 0
    for part in (model, processor):
        part.save_pretrained(folder)
    return f"hf:{folder}"


def save_llava(folder: Path) -> str:
    """Save a model that answers questions."""
    words = tokenizer("<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**SEES),
        text_config=hf.LlamaConfig(**reads(len(words))),
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDE),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return _saved(folder, hf.LlavaForConditionalGeneration, config, words, processor)


def save_blip(folder: Path) -> str:
    """Save a captioner."""
    words = tokenizer()
    config = blip_config(len(words))
    processor = hf.BlipProcessor(hf.BlipImageProcessorPil(size=SIDE), words)
    return _saved(folder, hf.BlipForConditionalGeneration, config, words, processor)
