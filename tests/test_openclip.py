"""Networks of open_clip by name, where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.hidden_packages import hide_for_a_test
from helpers.tolerances import assert_agrees
from limelight.errors import MissingPackageError, OptionError, UnknownNameError, WeightsError
from limelight.models.prompted import Prompted, compare_encoded
from oracles.evidence import channels_first, probe
from oracles.weighted import gradcam

TEXTS = ["a cat", "an embroidered dog"]


class Encoders(nn.Module):
    """The part of open_clip's networks that prompts are compared by."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.see, self.hear = nn.Conv2d(3, 6, 8, 8), nn.Embedding(30, 6)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.logit_bias = nn.Parameter(torch.tensor(-5.0)) if bias else None

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        found = self.see(images).relu().mean((2, 3))
        return nn.functional.normalize(found, dim=1) if normalize else found

    def encode_text(self, texts: Tensor, normalize: bool = False) -> Tensor:
        found = self.hear(texts).mean(1)
        return nn.functional.normalize(found, dim=1) if normalize else found


class Tokenizer:
    all_special_ids = (0,)

    def decode(self, tokens: list[int]) -> str:
        return "".join(f" word{token}" for token in tokens)


@pytest.mark.parametrize("bias", [False, True])
def test_encoders_are_compared_by_their_embeddings(bias: bool) -> None:
    model = Encoders(bias=bias)
    tokens = torch.tensor([[0, 3, 4], [0, 5, 6]])
    prompted = Prompted(model, {"text": tokens}, Tokenizer(), compare_encoded)
    images = torch.randn(2, 3, 32, 32)
    image, text = model.encode_image(images), model.encode_text(tokens)
    cosine = torch.cosine_similarity(image[:, None], text[None], dim=2)
    expected = torch.tensor(2.0).exp() * cosine - (5 if bias else 0)
    result = limelight.explain(prompted, images, target=1, layer="model.see")
    assert_agrees(result.score, expected[:, 1].detach(), scale=10.0)
    found = probe(prompted, "model.see", images, lambda y: y[:, 1], channels_first)
    assert_agrees(result.raw, gradcam(found.activations, found.gradients))
    words = limelight.explain_text(limelight.Network("two encoders", prompted), images, target=1)
    assert [word.text for word in words[0].words] == ["word5", "word6"]


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_for_a_test(monkeypatch, "open_clip")
    with pytest.raises(MissingPackageError, match=r"pip install 'limelight\[open_clip\]'"):
        limelight.load_model("open_clip:ViT-B-32", classes=TEXTS)


@pytest.fixture
def tiny(tmp_path: Path) -> Any:
    open_clip: Any = pytest.importorskip("open_clip")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    }
    (tmp_path / "tiny-of-tests.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    return open_clip


def test_a_network_by_name(tiny: Any, tmp_path: Path) -> None:
    network = limelight.load_model("open_clip:tiny-of-tests", weights="none", classes=TEXTS)
    photo = Image.effect_noise((50, 40), 60).convert("RGB")
    result = limelight.explain(network, photo, target="an embroidered dog")
    tokens = tiny.get_tokenizer("tiny-of-tests")(TEXTS)
    model: Any = network.model.model
    with torch.no_grad():
        assert_agrees(result.score, model.get_logits(result.image, tokens)[0][:, 1])
    alone = limelight.explain(model, (result.image, tokens), target="a cat", classes=TEXTS)
    assert_agrees(alone.raw, limelight.explain(network, photo, target="a cat").raw)
    assert result.raw.shape == (1, 4, 4)
    transform = tiny.transform
    theirs = transform.image_transform_v2(
        transform.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
    )
    assert (theirs(photo) - result.image[0]).abs().max() < 0.05  # steps of 8 bits
    (words,) = limelight.explain_text(network, photo, target="an embroidered dog")
    assert [word.text for word in words.words] == ["an", "embroidered", "dog"]
    torch.save(model.state_dict(), tmp_path / "own.pth")
    loaded = limelight.load_model(
        "open_clip:tiny-of-tests", weights=tmp_path / "own.pth", classes=TEXTS
    )
    assert_agrees(limelight.explain(loaded, photo, target=0).raw, alone.raw)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("tiny-of-tests", {}, OptionError, r"names no weights\. open_clip has none.*'none'"),
        ("tiny-of-test", {}, UnknownNameError, r"Did you mean 'tiny-of-tests'"),
        ("ViT-B-32", {}, OptionError, r"Add a tag, as in open_clip:ViT-B-32/"),
        ("ViT-B-32/laion2b", {}, UnknownNameError, r"no tag named 'laion2b'"),
        ("tiny-of-tests", {"classes": None}, OptionError, r"Pass the texts.*classes=\[\.\.\.\]"),
        ("local-dir:/nowhere", {}, WeightsError, r"of open_clip cannot be had"),
    ],
)
def test_what_is_refused(
    tiny: Any, name: str, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        limelight.load_model(f"open_clip:{name}", **{"classes": TEXTS, **options})
