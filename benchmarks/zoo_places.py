"""Networks of the zoo of which no shape tells where a layer's cells lie.

Shuffled and dropped patches, tokens without a place, videos with time fastest, crops, packed
patches and windows: small networks of transformers from configurations, and larger ones at layers
that are named. What a network returns is read as logits `[B, K]`. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo_networks import DETR, PATCHES, RESNET, Network, standardised

#: Transformers of 3 blocks and 32 channels.
SMALL: dict[str, Any] = {k: v for k, v in PATCHES.items() if k not in ("image_size", "patch_size")}
#: As few words.
VOCABULARY: dict[str, Any] = {"vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2}


class Reading(nn.Module):
    """A network whose output is read as logits `[B, K]`."""

    def __init__(self, net: nn.Module, read: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.net, self.read = net, read

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.read(self.net(**inputs))


def mean_token(output: Any) -> Tensor:
    mean: Tensor = output.last_hidden_state.mean(1)
    return mean


def next_word(output: Any) -> Tensor:
    logits: Tensor = output.logits[:, -1]
    return logits


def mean_mask(output: Any) -> Tensor:
    masks: Tensor = output.pred_masks
    return masks.mean((1, 3, 4))


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def words(count: int) -> Tensor:
    return torch.randint(3, 99, (1, count), generator=torch.Generator().manual_seed(0))


def library() -> Any:
    """Return transformers, whose configurations take more options than their types say."""
    import transformers

    return transformers


def mae() -> nn.Module:
    t = library()

    return Reading(t.ViTMAEModel(t.ViTMAEConfig(**PATCHES)), mean_token)


def vilt() -> nn.Module:
    t = library()

    config = t.ViltConfig(**PATCHES, vocab_size=100, max_image_length=-1)
    return Reading(t.ViltModel(config), lambda output: output.pooler_output)


def git() -> nn.Module:
    t = library()

    config = t.GitConfig(vision_config=PATCHES, **SMALL, **VOCABULARY)
    return Reading(t.GitForCausalLM(config), next_word)


def sam() -> nn.Module:
    t = library()

    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = t.SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 256,
            "mlp_dim": 64,
            "window_size": 7,
            "global_attn_indexes": [1],
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 256, "image_embedding_size": 16},
        mask_decoder_config={**decoder, "iou_head_hidden_dim": 32},
    )
    return Reading(t.SamModel(config), mean_mask)


def perceiver(kind: str, **options: Any) -> nn.Module:
    t = library()

    heads = {"num_self_attention_heads": 2, "num_cross_attention_heads": 1}
    config = t.PerceiverConfig(
        num_latents=49,
        d_latents=64,
        num_self_attends_per_block=2,
        num_labels=10,
        **heads,
        **options,
    )
    model: nn.Module = getattr(t, f"PerceiverForImageClassification{kind}")(config)
    return model


def timesformer() -> nn.Module:
    t = library()

    config = t.TimesformerConfig(**{**PATCHES, "image_size": 96}, num_frames=4, num_labels=10)
    model: nn.Module = t.TimesformerForVideoClassification(config)
    return model


def hiera() -> nn.Module:
    t = library()

    config = t.HieraConfig(embed_dim=32, depths=[1, 1, 2, 1], num_labels=10)
    model: nn.Module = t.HieraForImageClassification(config)
    return model


def yolos(**options: Any) -> nn.Module:
    t = library()

    config = t.YolosConfig(**{**PATCHES, "image_size": (224, 224)}, **options)
    model: nn.Module = t.YolosForObjectDetection(config)
    return model


def detr(queries: int) -> nn.Module:
    t = library()

    backbone = t.ResNetConfig(**RESNET, out_features=["stage4"])
    options = {**DETR, "num_queries": queries, "backbone_config": backbone}
    model: nn.Module = t.DetrForObjectDetection(t.DetrConfig(**options))
    return model


def naflex() -> nn.Module:
    t = library()

    seen = {**SMALL, "num_patches": 64, "patch_size": 16}
    config = t.Siglip2Config(vision_config=seen, text_config={**SMALL, **VOCABULARY}, num_labels=10)
    model: nn.Module = t.Siglip2ForImageClassification(config)
    return model


def pix2struct() -> nn.Module:
    t = library()

    config = t.Pix2StructVisionConfig(
        hidden_size=32, d_ff=64, d_kv=16, num_hidden_layers=2, num_attention_heads=2
    )
    return Reading(t.Pix2StructVisionModel(config), mean_token)


def llava_next() -> nn.Module:
    t = library()

    vision = t.CLIPVisionConfig(**{**PATCHES, "image_size": 56, "patch_size": 14})
    text = t.LlamaConfig(**SMALL, num_key_value_heads=2, vocab_size=200)
    config = t.LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_grid_pinpoints=[[112, 112]],
        image_token_index=199,
        image_seq_length=16,
    )
    return Reading(t.LlavaNextForConditionalGeneration(config), next_word)


def with_words(count: int) -> dict[str, Tensor]:
    return {"pixel_values": standardised(224, 224), "input_ids": words(count)}


def packed() -> dict[str, Tensor]:
    """Return the patches of a picture of 80 x 128 pixels, and along which grid they were cut."""
    patches = standardised(80, 128).reshape(1, 3, 5, 16, 8, 16).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": patches.reshape(1, 40, 768),
        "pixel_attention_mask": torch.ones(1, 40, dtype=torch.long),
        "spatial_shapes": torch.tensor([[5, 8]]),
    }


def numbered() -> dict[str, Tensor]:
    """Return the same patches, each with its row and its column in front."""
    at = torch.cartesian_prod(torch.arange(1.0, 6), torch.arange(1.0, 9))[None]
    patches = torch.cat([at, packed()["pixel_values"]], dim=2)
    return {"flattened_patches": patches, "attention_mask": torch.ones(1, 40)}


def crops() -> dict[str, Tensor]:
    """Return a picture as a whole, its four quarters, and words."""
    whole = standardised(112, 112)
    quarters = [q for half in whole.chunk(2, 2) for q in half.chunk(2, 3)]
    small = torch.nn.functional.interpolate(whole, size=(56, 56), mode="bilinear", antialias=True)
    tokens = torch.full((1, 16 + 8 * 8 + 8), 199)
    return {
        "pixel_values": torch.stack([small, *quarters], dim=1),
        "input_ids": torch.cat([tokens, words(5)], dim=1),
        "image_sizes": torch.tensor([[112, 112]]),
    }


def named(**tensors: Callable[[], Tensor] | Tensor) -> Callable[[], Mapping[str, Tensor]]:
    return lambda: {name: t if isinstance(t, Tensor) else t() for name, t in tensors.items()}


def place_networks() -> Iterator[Network]:
    """Build networks whose tokens have an order of their own, or no place at all."""
    from torchvision import models

    classes = partial(Network, "places")
    square = partial(standardised, 224, 224)
    kept = named(pixel_values=square, noise=drawn(1, 196))
    yield classes("ViTMAE, noise given", "classes", mae, kept)
    yield classes("ViTMAE, at random", "classes", mae, named(pixel_values=square))
    yield classes("ViLT", "classes", vilt, partial(with_words, 8))
    yield classes("GIT with 9 words", "classes", git, partial(with_words, 9))
    yield classes("GIT with 20 words", "classes", git, partial(with_words, 20))
    point = torch.tensor([[[[100.0, 80.0]]]])
    shown = named(pixel_values=partial(standardised, 256, 256), input_points=point)
    yield classes("SAM", "classes", sam, shown)
    yield classes("SAM, vision encoder", "classes", sam, shown, "net.vision_encoder.layers.1")
    decoder = "net.mask_decoder.transformer.final_attn_token_to_image"
    yield classes("SAM, prompt tokens", "classes", sam, shown, decoder)
    for kind, side, options in (
        ("Learned", 56, {"d_model": 64, "image_size": 56}),
        ("Fourier", 224, {"d_model": 261}),
        ("ConvProcessing", 224, {"d_model": 322}),
    ):
        build = partial(perceiver, kind, **options)
        inputs = named(inputs=partial(standardised, side, side))
        yield classes(f"Perceiver{kind}", "classes", build, inputs)
    frames = named(pixel_values=lambda: standardised(4, 96, 96).transpose(1, 2))
    yield classes("TimeSformer", "classes", timesformer, frames)
    for block in (0, 1, 2):
        at = f"hiera.encoder.stages.{block}.layers.0"
        yield classes(f"Hiera at stage {block}", "classes", hiera, square, at)
    yield classes("YOLOS at block 1", "boxes", yolos, square, "vit.encoder.layer.1")
    for queries, size in (
        (100, (640, 640)),
        (100, (320, 320)),
        (300, (544, 544)),
        (100, (480, 640)),
    ):
        shape = " x ".join(map(str, size))
        name = f"DETR with {queries} queries at {shape}"
        yield classes(name, "boxes", partial(detr, queries), partial(standardised, *size))
    large = partial(standardised, 640, 640)
    yield classes("DETR, its queries", "boxes", partial(detr, 100), large, "model.decoder")
    yield classes("SigLIP2 NaFlex", "classes", naflex, packed)
    yield classes("Pix2Struct", "classes", pix2struct, numbered)
    yield classes("LLaVA-Next", "classes", llava_next, crops)
    maxvit = partial(models.maxvit_t, weights=None)
    for stage, kind in ((0, "window"), (0, "grid"), (2, "window"), (2, "grid")):
        at = f"blocks.{stage}.layers.0.layers.{kind}_attention.mlp_layer"
        name = f"maxvit_t at a {kind} of stage {stage}"
        yield classes(name, "classes", maxvit, square, at)
