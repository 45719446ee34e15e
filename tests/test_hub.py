"""Networks of transformers, from folders that save_pretrained wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

import limelight
from helpers.tolerances import assert_agrees
from limelight.errors import ModelError, OptionError, WeightsError
from limelight.models.hub import preprocess_of
from limelight.photos.pictures import load_photo
from limelight.photos.samples import find_sample

hf: Any = transformers  # whose own types are not all there

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
PHOTO = load_photo(find_sample("chelsea"))


def saved(folder: Path, *parts: Any) -> str:
    torch.manual_seed(0)
    for part in parts:
        part.save_pretrained(folder)
    return f"hf:{folder}"


@pytest.fixture
def vit(tmp_path: Path) -> str:
    config = hf.ViTConfig(**SMALL, image_size=64, patch_size=8, id2label={0: "cat", 1: "dog"})
    processor = hf.ViTImageProcessor(size={"height": 64, "width": 64})
    return saved(tmp_path, hf.ViTForImageClassification(config).eval(), processor)


def explained(network: limelight.Network, **options: Any) -> limelight.Explanation:
    images = network.preprocess(PHOTO)[None]
    return limelight.explain(network.model, images, classes=network.classes, **options)


def test_a_classifier_with_its_processor_and_names(vit: str) -> None:
    network = limelight.load_model(vit)
    assert network.classes == ("cat", "dog")
    images = network.preprocess(PHOTO)[None]
    theirs = hf.ViTImageProcessor.from_pretrained(vit.removeprefix("hf:"))(
        PHOTO, return_tensors="pt"
    )["pixel_values"]
    assert (images - theirs).abs().max() < 0.05  # a step of 8 bits is 0.008
    found = explained(network, target="dog")
    plain = hf.ViTForImageClassification.from_pretrained(vit.removeprefix("hf:")).eval()
    with torch.no_grad():
        assert torch.equal(found.score, plain(images).logits[:, 1])
    assert found.status[0].ok
    assert found.raw.shape == (1, 8, 8)


def test_random_weights_are_the_same_every_time_and_files_are_loaded(
    vit: str, tmp_path: Path
) -> None:
    one, two = (limelight.load_model(vit, weights="none") for _ in range(2))
    saved_ = limelight.load_model(vit)
    images = torch.randn(1, 3, 64, 64)
    assert one.weights == "random"
    with torch.no_grad():
        assert torch.equal(one.model(images).logits, two.model(images).logits)
        torch.save(saved_.model.state_dict(), tmp_path / "own.pth")
        loaded = limelight.load_model(vit, weights=tmp_path / "own.pth")
        assert torch.equal(loaded.model(images).logits, saved_.model(images).logits)


def test_a_detector_and_a_segmenter_take_the_whole_photo(tmp_path: Path) -> None:
    backbone = hf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"]
    )
    config = hf.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=5,
    )
    processor = hf.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 80})
    name = saved(tmp_path / "detr", hf.DetrForObjectDetection(config).eval(), processor)
    found = explained(limelight.load_model(name))
    width, height = PHOTO.size
    seen = found.image.shape[2:]
    assert max(abs(seen[0] - 80 * height / width), abs(seen[1] - 80)) <= 1
    assert found.region is not None
    assert "in box" in found.label[0]
    segformer = hf.SegformerForSemanticSegmentation(
        hf.SegformerConfig(
            hidden_sizes=[8, 8, 16, 16],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=16,
            depths=[1] * 4,
        )
    )
    processor = hf.SegformerImageProcessor(size={"height": 64, "width": 96})
    name = saved(tmp_path / "segformer", segformer.eval(), processor)
    found = explained(limelight.load_model(name), target=limelight.Region(1, (10, 10)))
    assert found.image.shape[2:] == (64, 96)
    assert found.label == ("class 1 at pixel (10, 10)",)


def test_a_model_of_images_and_texts_takes_texts_for_classes(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = Tokenizer(WordLevel({"[PAD]": 0, "cat": 1, "dog": 2, "a": 3, "[EOS]": 4}, "[PAD]"))
    words.pre_tokenizer = Whitespace()
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]")
    config = hf.CLIPConfig(
        text_config={**SMALL, "vocab_size": 5, "eos_token_id": 4, "max_position_embeddings": 8},
        vision_config={**SMALL, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    processor = hf.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    model = hf.CLIPModel(config).eval()
    name = saved(tmp_path, model, tokenizer, processor)
    texts = ["a cat", "a dog", "dog"]
    network = limelight.load_model(name, classes=texts)
    assert network.classes == tuple(texts)
    found = explained(network, target="a dog")
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        plain = model(
            pixel_values=found.image,
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
        ).logits_per_image
    assert_agrees(found.score.item(), plain[0, 1].item())
    assert found.raw.shape == (1, 4, 4)
    assert found.status[0].ok
    with pytest.raises(OptionError, match=r"compares pictures with texts.*classes=\[\.\.\.\]"):
        limelight.load_model(name)


def test_what_is_no_network_of_pictures_is_refused(tmp_path: Path, vit: str) -> None:
    text = saved(tmp_path / "bert", hf.BertModel(hf.BertConfig(**SMALL, vocab_size=9)))
    with pytest.raises(ModelError, match=r"is a BertModel; one that takes a picture"):
        limelight.load_model(text)
    with pytest.raises(WeightsError, match=r"cannot be had from the hub or a folder.*save_pret"):
        limelight.load_model(f"hf:{tmp_path}/nothing")
    (Path(vit.removeprefix("hf:")) / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="image processor"):
        limelight.load_model(vit)


@pytest.mark.parametrize("size", [(200, 300), (300, 200), (100, 900)])
@pytest.mark.parametrize("edges", [(64, None), (64, 90)])
def test_photos_are_resized_as_by_the_processor(
    size: tuple[int, int], edges: tuple[int, int | None]
) -> None:
    """To the pixel, but for how halves are rounded."""
    settings: dict[str, Any] = {"shortest_edge": edges[0]}
    settings |= {"longest_edge": edges[1]} if edges[1] else {"longest_edge": 10_000}
    processor = hf.DetrImageProcessor(size=settings)
    photo = Image.new("RGB", size)
    theirs = processor(photo, return_tensors="pt")["pixel_values"].shape[2:]
    ours = preprocess_of(processor.to_dict())(photo).shape[1:]
    assert all(abs(a - b) <= 1 for a, b in zip(ours, theirs, strict=True))


def test_a_point_of_the_photo_is_found_in_the_input() -> None:
    cropped = limelight.Preprocess(size=(50, 50), resize=100)
    photo = Image.new("RGB", (400, 200))
    assert cropped.point(photo, 200, 100) == (25, 25)  # the middle stays the middle
    whole = limelight.Preprocess(size=None, resize=None)
    assert whole.point(photo, 12, 34) == (12, 34)
    assert whole(photo).shape == (3, 200, 400)
    assert whole.view(photo).size == (400, 200)
