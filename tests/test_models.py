from __future__ import annotations

import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import limelight
from limelight.errors import ModelError, OptionError, UnknownNameError, WeightsError
from limelight.models.sources import model_names
from limelight.photos.preprocess import Preprocess
from limelight.targets import class_names
from limelight.targets.class_names import imagenet_classes


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module of the user's own in it."""
    (tmp_path / "mynets.py").write_text(
        "import torch, limelight\n"
        "def small(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self): super().__init__(3, 2)\n"
        "ready = small()\n"
        "def full():\n"
        "    p = limelight.Preprocess(size=(2, 2), resize=2)\n"
        "    return limelight.Network('mine', small(), p, ('no', 'yes'))\n"
        "def broken(): raise RuntimeError('no disk')\n"
        "def number(): return 7\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("mynets", None)  # another test may have had one
    yield tmp_path
    sys.modules.pop("mynets", None)


def test_embedded_weights_load_strictly_and_all_of_them_are_used() -> None:
    network = limelight.load_model()
    random = limelight.load_model(weights="none")
    assert network.classes == imagenet_classes()
    assert not network.model.training
    same = [
        key
        for key, value in network.model.state_dict().items()
        if torch.equal(value, random.model.state_dict()[key]) and "num_batches" not in key
    ]
    assert same == []


def test_random_weights_are_the_same_every_time_and_leave_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two = (limelight.load_model("squeezenet1_0", weights="none").model for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("name", "file", "size", "half"),
    [
        ("mobilenet_v2", "mobilenet_v2_imagenet.pth", 224, True),
        ("squeezenet1_0", "squeezenet1_0_imagenet.pth", 227, False),
    ],
)
def test_real_weights_from_a_file_know_real_photos(
    shared: Path, name: str, file: str, size: int, half: bool
) -> None:
    mean, std = ((0.5,) * 3,) * 2 if half else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    network = limelight.load_model(
        name,
        weights=shared / "weights" / file,
        preprocess=Preprocess((size, size), 256, mean, std),
    )
    photos = [shared / "photos" / f"{photo}.jpg" for photo in ("samoyed", "parrot")]
    labels = [r.explanations[0].label[0] for r in limelight.explain_photos(network, photos)]
    assert labels == ["Samoyed", "macaw"]
    assert network.weights.endswith(file)


def test_a_checkpoint_and_a_wrappers_prefix_are_looked_through(tmp_path: Path) -> None:
    state = limelight.load_model("squeezenet1_0", weights="none").model.state_dict()
    wrapped = {f"module.{key}": value + 1 for key, value in state.items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "checkpoint.pth")
    loaded = limelight.load_model("squeezenet1_0", weights=tmp_path / "checkpoint.pth")
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, state[key] + 1)


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = limelight.load_model("squeezenet1_0", weights="none").model.state_dict()
    save_file({k: v + 1 for k, v in state.items()}, tmp_path / "w.safetensors")
    loaded = limelight.load_model("squeezenet1_0", weights=tmp_path / "w.safetensors")
    assert torch.equal(
        loaded.model.state_dict()["classifier.1.bias"], state["classifier.1.bias"] + 1
    )


def test_a_mismatch_is_told_key_by_key(tmp_path: Path) -> None:
    state = limelight.load_model("squeezenet1_0", weights="none").model.state_dict()
    state["classifier.1.weight"] = torch.zeros(7, 512, 1, 1)
    state["head.extra"] = torch.zeros(1)
    del state["features.0.bias"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        limelight.load_model("squeezenet1_0", weights=tmp_path / "w.pth")
    text = str(caught.value)
    assert "1 missing:\n    features.0.bias" in text
    assert "1 unexpected:\n    head.extra" in text
    assert "classifier.1.weight: file [7, 512, 1, 1], model [1000, 512, 1, 1]" in text
    assert "classes=[...]" in text


class Payload:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('the file ran code')",)


def test_a_file_that_holds_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1), "evil": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="holds more than tensors, and is not run"):
        limelight.load_model("squeezenet1_0", weights=tmp_path / "evil.pth")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "it has 0 bytes"),
        (b"PK but no archive", "more than tensors|cannot be read"),
        (b"not a zip archive at all", "begins with b'no'"),
        (None, "no weights file"),
    ],
)
def test_bad_weights_files(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "w.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=text):
        limelight.load_model("squeezenet1_0", weights=path)


def test_a_file_without_tensors(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="a list without tensors"):
        limelight.load_model("squeezenet1_0", weights=tmp_path / "w.pth")


def test_names_size_the_head_of_a_fine_tuned_network(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\nbird\n")
    made = limelight.load_model("squeezenet1_0", weights="none", classes=names)
    torch.save(made.model.state_dict(), tmp_path / "w.pth")
    loaded = limelight.load_model("squeezenet1_0", weights=tmp_path / "w.pth", classes=names)
    assert loaded.classes == ("cat", "dog", "bird")
    assert loaded.model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize(("text", "match"), [("", "no class names"), ("a\n\nb", "an empty line")])
def test_bad_class_names(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(OptionError, match=match):
        limelight.load_model(weights="none", classes=tmp_path / "names.txt")
    with pytest.raises(OptionError, match="cannot be read"):
        limelight.load_model(weights="none", classes=tmp_path / "none.txt")


def test_names_of_models() -> None:
    names = model_names()
    assert "resnet50" in names["torchvision"]
    assert "vit_base_patch16_224" in names["timm"]
    with pytest.raises(UnknownNameError, match=r"no model named 'resnet5'.*'resnet50'"):
        limelight.load_model("resnet5")
    with pytest.raises(ModelError, match="does not take a photo"):
        limelight.load_model("r3d_18")


def test_a_librarys_name_in_front_chooses_between_two_of_the_same() -> None:
    tv = limelight.load_model("torchvision:resnet18", weights="none").model
    ti = limelight.load_model("timm:resnet18", weights="none").model
    assert type(tv).__module__.startswith("torchvision")
    assert type(ti).__module__.startswith("timm")
    assert "global_pool" in dict(ti.named_children())


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub.os.path.exists", lambda _path: False)
    with pytest.raises(WeightsError, match=r"weights='FILE'.*weights='none'") as caught:
        limelight.load_model("squeezenet1_1")
    assert "no route to host" in str(caught.value)
    assert caught.value.exit_code == 1


def test_timm_weights_that_do_not_exist() -> None:
    with pytest.raises(WeightsError, match="weights='none'"):
        limelight.load_model("timm:resnet18.no_such_tag")


@pytest.mark.parametrize("name", ["small", "Net", "ready"])
def test_the_users_own(own: Path, name: str) -> None:
    network = limelight.load_model(f"mynets:{name}")
    assert isinstance(network.model, nn.Module)
    assert network.classes is None


def test_the_users_own_with_everything(own: Path) -> None:
    network = limelight.load_model("mynets:full")
    assert network.classes == ("no", "yes")
    assert network.preprocess.size == (2, 2)
    torch.save({k: v * 0 + 3 for k, v in network.model.state_dict().items()}, own / "w.pth")
    filled = limelight.load_model("mynets:full", weights=own / "w.pth")
    assert torch.equal(filled.model(torch.ones(1, 3, 2, 2)), torch.full((1, 2), 39.0))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere:net", "Cannot import 'nowhere'"),
        ("mynets:nothing", "There is no 'nothing' in 'mynets'"),
        ("mynets:broken", "raised RuntimeError: no disk"),
        ("mynets:number", "gave an object of type int"),
    ],
)
def test_the_users_own_gone_wrong(own: Path, name: str, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        limelight.load_model(name)


def test_unusable_device() -> None:
    with pytest.raises(OptionError, match="The device 'cuda:99' cannot be used"):
        limelight.load_model(weights="none", device="cuda:99")
    with pytest.raises(OptionError, match="The device 'toaster' cannot be used"):
        limelight.load_model(weights="none", device="toaster")
    with pytest.raises(OptionError, match="'meta' holds shapes and no numbers"):
        limelight.load_model(weights="none", device="meta")


@pytest.mark.parametrize("size", [(224, 224), (97, 130)])
def test_the_embedded_network_is_timms(size: tuple[int, int]) -> None:
    import timm

    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    ours = limelight.load_model().model
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_the_embedded_networks_random_weights_keep_activations_at_their_scale() -> None:
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    ours = limelight.load_model(weights="none").model
    for (name, drawn), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        spread, due = (float(weights.detach().std()) for weights in (drawn, expected))
        assert spread == pytest.approx(due, rel=0.15), name


def test_the_names_of_imagenets_classes_are_torchvisions() -> None:
    from torchvision.models import ResNet18_Weights

    assert list(imagenet_classes()) == ResNet18_Weights.IMAGENET1K_V1.meta["categories"]


def test_the_names_of_imagenets_classes_without_torchvisions_own_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = imagenet_classes()
    monkeypatch.setattr(class_names, "find_spec", lambda _: None)
    imagenet_classes.cache_clear()
    try:
        assert imagenet_classes() == expected
    finally:
        imagenet_classes.cache_clear()
