"""Tiny models of pictures and words, of every family, with processors made without a hub.

Each has drawn weights that make a difference, a tokeniser of few words, and the image processor of
its family with small sizes; the processor lays out the pictures and their placeholders.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what transformers imports
    hf: Any = pytest.importorskip("transformers")
    tokenizers: Any = pytest.importorskip("tokenizers")

#: Photos of one prompt, for each prompt.
Photos = Sequence[Sequence[Image.Image]]

SENTENCE = "what is this ? a red disc"
SPOKEN = (
    "what is this a red blue green disc ring cross square on white the in picture ? user assistant "
    "yes no here original image and are some crops to help you see better not two of : ."
)

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
#: What sees: pictures of 32 pixels in patches of 8.
SEES: dict[str, Any] = {**SMALL, "image_size": 32, "patch_size": 8}
SIDE = {"height": 32, "width": 32}


def reads(count: int, **more: Any) -> dict[str, Any]:
    """What reads and writes: a small decoder of so many words."""
    return {
        **SMALL,
        "num_key_value_heads": 2,
        "vocab_size": count,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **more,
    }


def drawn(model: nn.Module) -> Any:
    """Weights that make a difference, the same in every run, whatever the width of a layer."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            width = parameter[0].numel()
            nn.init.normal_(parameter, 0, 1.2 / width**0.5, generator=generator)
    return model.eval()


def tokeniser(*special: str, **named: str) -> Any:
    """Return a tokeniser of whole words, with more tokens of its own."""
    base = ["<pad>", "<bos>", "<eos>", "<unk>"]
    every = dict.fromkeys([*base, *special, *named.values(), *SPOKEN.split()])
    level = tokenizers.models.WordLevel(
        {word: i for i, word in enumerate(every)}, unk_token="<unk>"
    )
    made = tokenizers.Tokenizer(level)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words = hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens=named,
        padding_side="left",
    )
    words.add_special_tokens({"additional_special_tokens": [*special, *named.values()]})
    return words


def numbers(words: Any, **names: str) -> dict[str, int]:
    """Return the numbers of tokens, by the names that a configuration has for them."""
    return {name: words.convert_tokens_to_ids(token) for name, token in names.items()}


class Pair:
    """An image processor and a tokeniser, where a family has nothing that joins them."""

    def __init__(self, images: Any, words: Any, **renamed: str) -> None:
        self.image_processor, self.tokenizer, self.renamed = images, words, renamed

    def __call__(self, *, images: Any, text: list[str], **_options: Any) -> dict[str, Any]:
        read: dict[str, Any] = dict(self.image_processor(images=images, return_tensors="pt"))
        read |= self.tokenizer(text, return_tensors="pt", padding=True, return_token_type_ids=False)
        return {self.renamed.get(name, name): value for name, value in read.items()}


@dataclass(frozen=True)
class Made:
    """A model, and what makes its inputs."""

    model: Any
    processor: Any


@dataclass(frozen=True)
class Family:
    """A family of models of pictures and words.

    Attributes:
        make: Makes the model and its processor.
        picture: What stands for a picture in a prompt: "" where pictures come by themselves.
        words: The argument that holds the sentence which is explained.
        several: Whether a prompt may hold two pictures.
        options: What its processor is called with.
    """

    make: Callable[[], Made]
    picture: str = ""
    words: str = "input_ids"
    several: bool = True
    options: tuple[tuple[str, Any], ...] = ()


FAMILIES: dict[str, Family] = {}


def family(name: str, **known: Any) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    def add(make: Callable[[], Made]) -> Callable[[], Made]:
        FAMILIES[name] = Family(cache(make), **known)
        return make

    return add


def made(name: str) -> Made:
    """Return the model of a family and its processor, made once."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # of what transformers deprecates
        torch.manual_seed(0)
        return FAMILIES[name].make()


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return a photo of blocks of 8 pixels of any colour."""
    drawn = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3))
    blocks = drawn.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    return Image.fromarray(blocks)


def inputs(name: str, photos: Photos, sentence: str | Sequence[str] = SENTENCE) -> dict[str, Any]:
    """Return what a family's model takes for prompts with these photos, one sentence or one each.

    The sentence, question and answer, comes after the pictures; shorter ones are padded in front.
    """
    known, processor = FAMILIES[name], made(name).processor
    texts = [sentence] * len(photos) if isinstance(sentence, str) else list(sentence)
    # A space: not two tokens in a row, which are one word without it.
    text = [
        f"{' '.join([known.picture] * len(row))} {words}".strip()
        for row, words in zip(photos, texts, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = processor(
            images=[list(row) for row in photos],
            text=text,
            return_tensors="pt",
            padding=True,
            **dict(known.options),
        )
    return {key: value for key, value in read.items() if value is not None and key != "labels"}


def sentences(name: str, given: dict[str, Any]) -> Tensor:
    """Return the tokens of the sentences that are explained, `[B, L]`."""
    ids: Tensor = given[FAMILIES[name].words]
    return ids


def cast(given: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Return inputs with their floating point numbers in another format."""
    return {
        key: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in given.items()
    }


# One picture, one grid


@family("llava", picture="<image>")
def _llava() -> Made:
    words = tokeniser("<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**SEES),
        text_config=hf.LlamaConfig(**reads(len(words))),
        **numbers(words, image_token_index="<image>"),
    )
    images = hf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDE)
    processor = hf.LlavaProcessor(
        images,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return Made(drawn(hf.LlavaForConditionalGeneration(config)), processor)


@family("paligemma", picture="<image>")
def _paligemma() -> Made:
    words = tokeniser(image_token="<image>")
    config = hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**SEES),
        text_config=hf.GemmaConfig(**reads(2000, head_dim=16)),
        projection_dim=32,
        **numbers(words, image_token_index="<image>"),
    )
    images = hf.SiglipImageProcessorPil(size=SIDE)
    images.image_seq_length = 16
    processor = hf.PaliGemmaProcessor(images, words)
    return Made(drawn(hf.PaliGemmaForConditionalGeneration(config)), processor)


def blip_config(vocabulary: int) -> Any:
    """Return the configuration of a small BLIP with a vocabulary of so many tokens."""
    return hf.BlipConfig(
        text_config={
            **reads(vocabulary),
            "encoder_hidden_size": 32,
            "projection_dim": 16,
            "sep_token_id": 2,
        },
        vision_config={**SEES, "projection_dim": 16},
        projection_dim=16,
    )


@family("blip", several=False)
def _blip() -> Made:
    words = tokeniser()
    config = blip_config(len(words))
    images = hf.BlipImageProcessorPil(size=SIDE)
    return Made(drawn(hf.BlipForConditionalGeneration(config)), Pair(images, words))


def _q_former(count: int) -> dict[str, Any]:
    return {**reads(count), "encoder_hidden_size": 32, "cross_attention_frequency": 1}


def _opt(count: int) -> Any:
    return hf.OPTConfig(
        **reads(count), ffn_dim=48, word_embed_proj_dim=32, do_layer_norm_before=True
    )


@family("blip-2", several=False)
def _blip_2() -> Made:
    words = tokeniser("<image>")
    config = hf.Blip2Config(
        vision_config=SEES,
        qformer_config=_q_former(len(words)),
        text_config=_opt(len(words)).to_dict(),
        num_query_tokens=4,
        **numbers(words, image_token_index="<image>"),
    )
    processor = hf.Blip2Processor(hf.BlipImageProcessorPil(size=SIDE), words, num_query_tokens=4)
    return Made(drawn(hf.Blip2ForConditionalGeneration(config)), processor)


@family("instructblip", several=False)
def _instructblip() -> Made:
    words = tokeniser("<image>")
    config = hf.InstructBlipConfig(
        vision_config=SEES,
        qformer_config=_q_former(len(words)),
        text_config=_opt(len(words)).to_dict(),
        num_query_tokens=4,
        **numbers(words, image_token_index="<image>"),
    )
    images = hf.BlipImageProcessorPil(size=SIDE)
    processor = hf.InstructBlipProcessor(images, words, words, num_query_tokens=4)
    return Made(drawn(hf.InstructBlipForConditionalGeneration(config)), processor)


def _encoder_decoder(decoder: Any, words: Any) -> Made:
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        hf.ViTConfig(**SEES), decoder
    )
    pair = Pair(
        hf.ViTImageProcessorPil(size=SIDE),
        words,
        input_ids="decoder_input_ids",
        attention_mask="decoder_attention_mask",
    )
    return Made(drawn(hf.VisionEncoderDecoderModel(config)), pair)


@family("vit-gpt2", words="decoder_input_ids", several=False)
def _vit_gpt2() -> Made:
    words = tokeniser()
    decoder = hf.GPT2Config(
        vocab_size=len(words),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _encoder_decoder(decoder, words)


@family("trocr", words="decoder_input_ids", several=False)
def _trocr() -> Made:
    words = tokeniser()
    decoder = hf.TrOCRConfig(
        vocab_size=len(words),
        d_model=32,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=48,
        cross_attention_hidden_size=32,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _encoder_decoder(decoder, words)


class _Kosmos2(Pair):
    """Puts the pictures first, and says where they are."""

    def __call__(self, *, images: Any, text: list[str], **options: Any) -> dict[str, Any]:
        read = super().__call__(images=images, text=text, **options)
        read["image_embeds_position_mask"] = (
            read["input_ids"] == self.tokenizer.convert_tokens_to_ids("<image>")
        ).long()
        return read


@family("kosmos-2", picture="<image>" * 4, several=False)
def _kosmos_2() -> Made:
    words = tokeniser("<image>")
    config = hf.Kosmos2Config(
        text_config={
            "vocab_size": len(words),
            "max_position_embeddings": 128,
            "embed_dim": 32,
            "layers": 2,
            "ffn_dim": 48,
            "attention_heads": 2,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config=SEES,
        latent_query_num=4,
    )
    images = hf.CLIPImageProcessorPil(size=SIDE, crop_size=SIDE, do_center_crop=False)
    return Made(drawn(hf.Kosmos2ForConditionalGeneration(config)), _Kosmos2(images, words))


class _Florence2(Pair):
    """The question goes to the encoder, with the picture; the answer to the decoder."""

    def __call__(self, *, images: Any, text: list[str], **options: Any) -> dict[str, Any]:
        read = super().__call__(images=images, text=text, **options)
        read["decoder_input_ids"] = self.tokenizer(
            ["<eos> a red disc"] * len(text), return_tensors="pt"
        ).input_ids
        return read


@family("florence-2", picture="<image>" * 17, words="decoder_input_ids", several=False)
def _florence_2() -> Made:
    words = tokeniser(image_token="<image>")
    config = hf.Florence2Config(
        vision_config={
            "depths": [1, 1],
            # Kernels with their cell in the middle; those of the published ones lie beside it.
            "patch_size": [6, 4],
            "patch_stride": [4, 2],
            "patch_padding": [1, 1],
            "patch_prenorm": [False, True],
            "embed_dim": [16, 32],
            "num_heads": [2, 2],
            "num_groups": [2, 2],
            "window_size": 4,
            "projection_dim": 32,
            "drop_path_rate": 0.0,
        },
        text_config={
            "model_type": "bart",
            "vocab_size": len(words),
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 128,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": 2,
        },
        **numbers(words, image_token_id="<image>"),
    )
    images = hf.CLIPImageProcessorPil(size=SIDE, do_center_crop=False)
    return Made(drawn(hf.Florence2ForConditionalGeneration(config)), _Florence2(images, words))


@family("gemma-3", picture="<boi>")
def _gemma_3() -> Made:
    words = tokeniser(image_token="<image>", boi_token="<boi>", eoi_token="<eoi>")
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**SEES, vision_use_head=False),
        text_config=hf.Gemma3TextConfig(**reads(len(words), head_dim=16)),
        mm_tokens_per_image=16,
        **numbers(
            words,
            image_token_id="<image>",
            boi_token_id="<boi>",
            eoi_token_id="<eoi>",
        ),
    )
    images = hf.Gemma3ImageProcessorPil(size=SIDE)
    processor = hf.Gemma3Processor(images, words, image_seq_length=16)
    return Made(drawn(hf.Gemma3ForConditionalGeneration(config)), processor)


@family("git", several=False)
def _git() -> Made:
    words = tokeniser()
    config = hf.GitConfig(**reads(len(words)), vision_config=SEES)
    images = hf.CLIPImageProcessorPil(size=SIDE, crop_size=SIDE, do_center_crop=False)
    return Made(drawn(hf.GitForCausalLM(config)), Pair(images, words))


# Crops


@family("llava-next", picture="<image>")
def _llava_next() -> Made:
    words = tokeniser("<image>")
    pieces = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**SEES),
        text_config=hf.LlamaConfig(**reads(len(words))),
        image_grid_pinpoints=pieces,
        **numbers(words, image_token_index="<image>"),
    )
    images = hf.LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size=SIDE, image_grid_pinpoints=pieces
    )
    processor = hf.LlavaNextProcessor(
        images,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return Made(drawn(hf.LlavaNextForConditionalGeneration(config)), processor)


@family("llava-onevision", picture="<image>")
def _llava_onevision() -> Made:
    words = tokeniser("<image>", "<video>")
    pieces = [[32, 32], [32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**SEES, vision_use_head=False),
        text_config=hf.Qwen2Config(**reads(len(words))),
        image_grid_pinpoints=pieces,
        **numbers(words, image_token_index="<image>", video_token_index="<video>"),
    )
    images = hf.LlavaOnevisionImageProcessorPil(size=SIDE, image_grid_pinpoints=pieces)
    processor = hf.LlavaOnevisionProcessor(
        images,
        words,
        hf.LlavaOnevisionVideoProcessor(),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    )
    return Made(drawn(hf.LlavaOnevisionForConditionalGeneration(config)), processor)


@family("internvl", picture="<IMG_CONTEXT>", options=(("crop_to_patches", True),))
def _internvl() -> Made:
    words = tokeniser(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = hf.InternVLConfig(
        vision_config={**SEES, "image_size": [32, 32], "patch_size": [8, 8]},
        text_config=hf.Qwen2Config(**reads(len(words))),
        **numbers(words, image_token_id="<IMG_CONTEXT>"),
    )
    images = hf.GotOcr2ImageProcessorPil(size=SIDE, min_patches=1, max_patches=6)
    processor = hf.InternVLProcessor(images, words, hf.InternVLVideoProcessor(), image_seq_length=4)
    return Made(drawn(hf.InternVLForConditionalGeneration(config)), processor)


def _idefics_words() -> Any:
    places = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    return tokeniser(
        "<end_of_utterance>",
        *places,
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
    )


def _idefics(config: Any, model: Any, processor: Any) -> Made:
    words = _idefics_words()
    made = model(
        config(
            vision_config=SEES,
            text_config=hf.LlamaConfig(**reads(len(words) + 8)),
            scale_factor=2,
            **numbers(words, image_token_id="<image>"),
        )
    )
    images = processor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    # Of SmolVLM too: its own, which does the same with pictures, needs another package, for video.
    return Made(drawn(made), hf.Idefics3Processor(images, words, image_seq_len=4))


@family("idefics3", picture="<image>")
def _idefics3() -> Made:
    model = hf.Idefics3ForConditionalGeneration
    return _idefics(hf.Idefics3Config, model, hf.Idefics3ImageProcessorPil)


@family("smolvlm", picture="<image>")
def _smolvlm() -> Made:
    model = hf.SmolVLMForConditionalGeneration
    return _idefics(hf.SmolVLMConfig, model, hf.SmolVLMImageProcessorPil)


@family("mllama", picture="<|image|>")
def _mllama() -> Made:
    words = tokeniser("<|image|>", "<|python_tag|>")
    text = reads(len(words), cross_attention_layers=[1], num_hidden_layers=3)
    config = hf.MllamaConfig(
        vision_config={
            **SEES,
            "num_global_layers": 1,
            "attention_heads": 2,
            "vision_output_dim": 64,
            "intermediate_layers_indices": [0],
            "max_num_tiles": 4,
            "supported_aspect_ratios": [
                [1, 1],
                [1, 2],
                [1, 3],
                [1, 4],
                [2, 1],
                [2, 2],
                [3, 1],
                [4, 1],
            ],
        },
        text_config=text,
        **numbers(words, image_token_index="<|image|>"),
    )
    images = hf.MllamaImageProcessorPil(size=SIDE, max_image_tiles=4)
    model = drawn(hf.MllamaForConditionalGeneration(config))
    with torch.no_grad():  # gates are shut in a fresh model
        for name, parameter in model.named_parameters():
            if "gate" in name and parameter.numel() == 1:
                parameter.fill_(1.0)
    return Made(model, hf.MllamaProcessor(images, words))


# Packed patches


def _qwen_words() -> tuple[Any, dict[str, int]]:
    words = tokeniser("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    known = numbers(
        words,
        vision_start_token_id="<|vision_start|>",
        vision_end_token_id="<|vision_end|>",
        image_token_id="<|image_pad|>",
        video_token_id="<|video_pad|>",
    )
    return words, known


def _qwen_images() -> Any:
    return hf.Qwen2VLImageProcessorPil(
        patch_size=8,
        merge_size=2,
        temporal_patch_size=2,
        min_pixels=16 * 16,
        max_pixels=128 * 128,
    )


#: A head of 16 numbers turns by time, height and width.
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
#: The picture tower of Qwen2.5-VL, Qwen3-VL and GLM-4V.
QWEN_SEES: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 32,
    "out_hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "patch_size": 8,
}
IN_QWEN = "<|vision_start|><|image_pad|><|vision_end|>"


@family("qwen2-vl", picture=IN_QWEN)
def _qwen2_vl() -> Made:
    words, known = _qwen_words()
    config = hf.Qwen2VLConfig(
        text_config=reads(len(words), rope_parameters=ROPE),
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 2,
            "patch_size": 8,
            "mlp_ratio": 2,
        },
        **known,
    )
    processor = hf.Qwen2VLProcessor(_qwen_images(), words, hf.Qwen2VLVideoProcessor())
    return Made(drawn(hf.Qwen2VLForConditionalGeneration(config)), processor)


@family("qwen2.5-vl", picture=IN_QWEN)
def _qwen2_5_vl() -> Made:
    words, known = _qwen_words()
    config = hf.Qwen2_5_VLConfig(
        text_config=reads(len(words), rope_parameters=ROPE),
        vision_config={
            **QWEN_SEES,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        **known,
    )
    processor = hf.Qwen2_5_VLProcessor(_qwen_images(), words, hf.Qwen2VLVideoProcessor())
    return Made(drawn(hf.Qwen2_5_VLForConditionalGeneration(config)), processor)


@family("qwen3-vl", picture=IN_QWEN)
def _qwen3_vl() -> Made:
    words, known = _qwen_words()
    config = hf.Qwen3VLConfig(
        text_config=reads(len(words), head_dim=16, rope_parameters=ROPE),
        vision_config={
            **QWEN_SEES,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **known,
    )
    processor = hf.Qwen3VLProcessor(_qwen_images(), words, hf.Qwen3VLVideoProcessor())
    return Made(drawn(hf.Qwen3VLForConditionalGeneration(config)), processor)


@family("glm4v", picture="<|begin_of_image|><|image|><|end_of_image|>")
def _glm4v() -> Made:
    words = tokeniser(
        "<|begin_of_image|>",
        "<|end_of_image|>",
        "<|begin_of_video|>",
        "<|end_of_video|>",
        image_token="<|image|>",
        video_token="<|video|>",
    )
    config = hf.Glm4vConfig(
        text_config=reads(len(words), rope_parameters=ROPE),
        vision_config={**QWEN_SEES, "image_size": 64},
        **numbers(
            words,
            image_token_id="<|image|>",
            video_token_id="<|video|>",
            image_start_token_id="<|begin_of_image|>",
            image_end_token_id="<|end_of_image|>",
            video_start_token_id="<|begin_of_video|>",
            video_end_token_id="<|end_of_video|>",
        ),
    )
    images = hf.Glm4vImageProcessorPil(
        patch_size=8,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": 16 * 16 * 2, "longest_edge": 128 * 128 * 2},
    )
    processor = hf.Glm4vProcessor(images, words, hf.Glm4vVideoProcessor())
    return Made(drawn(hf.Glm4vForConditionalGeneration(config)), processor)


@family("pixtral", picture="[IMG]")
def _pixtral() -> Made:
    words = tokeniser("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    config = hf.LlavaConfig(
        vision_config=hf.PixtralVisionConfig(**{**SEES, "image_size": 128}, head_dim=16),
        text_config=hf.MistralConfig(**reads(len(words))),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        **numbers(words, image_token_index="[IMG]"),
    )
    images = hf.PixtralImageProcessorPil(size={"longest_edge": 128}, patch_size=8)
    processor = hf.PixtralProcessor(images, words, patch_size=8)
    return Made(drawn(hf.LlavaForConditionalGeneration(config)), processor)


@family("mistral3", picture="[IMG]")
def _mistral3() -> Made:
    words = tokeniser("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    config = hf.Mistral3Config(
        vision_config=hf.PixtralVisionConfig(**{**SEES, "image_size": 128}, head_dim=16),
        text_config=hf.MistralConfig(**reads(len(words))),
        spatial_merge_size=2,
        **numbers(words, image_token_index="[IMG]"),
    )
    images = hf.PixtralImageProcessorPil(size={"longest_edge": 128}, patch_size=8)
    processor = hf.PixtralProcessor(images, words, patch_size=8, spatial_merge_size=2)
    return Made(drawn(hf.Mistral3ForConditionalGeneration(config)), processor)


@family("pix2struct", words="decoder_input_ids", several=False, options=(("max_patches", 48),))
def _pix2struct() -> Made:
    words = tokeniser()
    config = hf.Pix2StructConfig(
        vision_config={
            "hidden_size": 32,
            "patch_embed_hidden_size": 3 * 8 * 8,
            "d_ff": 48,
            "d_kv": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "seq_len": 64,
        },
        text_config={
            "vocab_size": len(words),
            "hidden_size": 32,
            "d_kv": 16,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 2,
            "encoder_hidden_size": 32,
            "pad_token_id": 0,
            "eos_token_id": 2,
            "decoder_start_token_id": 0,
        },
    )
    images = hf.Pix2StructImageProcessorPil(patch_size={"height": 8, "width": 8}, max_patches=48)
    processor = hf.Pix2StructProcessor(images, words)
    return Made(drawn(hf.Pix2StructForConditionalGeneration(config)), processor)


class _Flat(Pair):
    """Takes a photo for each prompt, with no lists of them."""

    def __call__(self, *, images: Any, text: list[str], **options: Any) -> dict[str, Any]:
        return super().__call__(images=[one for row in images for one in row], text=text, **options)


@family("siglip2", several=False)
def _siglip2() -> Made:
    words = tokeniser()
    config = hf.Siglip2Config(
        text_config={**reads(len(words)), "max_position_embeddings": 64, "projection_size": 32},
        vision_config={**SMALL, "patch_size": 8, "num_patches": 64},
    )
    images = hf.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=64)
    return Made(drawn(hf.Siglip2Model(config)), _Flat(images, words))
