"""The files and networks that the examples in the documentation speak of."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from transformers import ViTConfig, ViTImageProcessor

import limelight
from helpers.asked_models import save_blip, save_llava
from helpers.audited import CLASSES, other_network, tiny_network, write_photos
from helpers.commands import load_once
from helpers.deployed_files import NETWORK, save_file
from limelight.cli.network_options import NetworkOptions
from limelight.metrics import choosing
from limelight.metrics.learned import Learned
from limelight.models import sources
from limelight.render import write_film

MYNETS = """\
import torch, torchvision

def build():
    return torchvision.models.squeezenet1_1(weights=None, num_classes=2)

def grey():
    network = build()
    network.features[0] = torch.nn.Conv2d(1, 64, 3, 2)
    return network

def unet():
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 8, 8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool3d(1),
        torch.nn.Flatten(), torch.nn.Linear(4, 2),
    )
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that answers about photos, and one that writes captions."""
    found = tmp_path_factory.mktemp("asked")
    save_llava(found / "llava")
    save_blip(found / "blip")
    return found


@pytest.fixture
def folder(tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the examples speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "load_model", load_once)
    monkeypatch.setattr(limelight, "load_model", load_once)
    monkeypatch.setattr(sys, "path", list(sys.path))
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "street.jpg", "photos/a.jpg", "photos/b.jpg", "both.png"):
        Image.fromarray(rng.integers(0, 255, (80, 90, 3), dtype=np.uint8)).save(tmp_path / name)
    for name in ("slide.tif", "aerial.tif"):
        noise = rng.integers(0, 255, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    deep = rng.integers(0, 4096, (80, 90), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "scan12.tif")
    (tmp_path / "boxes.csv").write_text("photo,x1,y1,x2,y2\na.jpg,20,20,60,60\nb.jpg,0,0,50,50\n")
    (tmp_path / "masks").mkdir()
    for name in ("a", "b"):
        Image.new("L", (90, 80), 255).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "mynets.py").write_text(MYNETS)
    scan = rng.integers(-1000, 1000, (90, 80, 2)).astype("int16")
    volume = nibabel.Nifti1Image(scan, np.eye(4))  # type: ignore[no-untyped-call]
    nibabel.save(volume, tmp_path / "ct.nii.gz")
    frames = [Image.fromarray(rng.integers(0, 255, (80, 90, 3), dtype=np.uint8))] * 6
    write_film(tmp_path / "walk.mp4", frames, fps=10)
    (tmp_path / "old.py").write_text(
        "from pytorch_grad_cam import GradCAM\n"
        "maps = GradCAM(model=model, target_layers=[model.layer4])(images, None)\n"
    )
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    save_file(tmp_path / "net.onnx")
    mine = torchvision.models.squeezenet1_1(weights=None, num_classes=2)
    torch.save(mine.state_dict(), tmp_path / "mine.pth")
    config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=32)
    config.architectures = ["ViTForImageClassification"]
    config.save_pretrained(tmp_path / "mynets" / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "mynets" / "vit")
    for name in ("llava", "blip"):
        (tmp_path / name).symlink_to(asked / name)
    (tmp_path / "mynets" / "llava").symlink_to(asked / "llava")
    return tmp_path


@pytest.fixture
def audit_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the examples of audits speak of, and networks that look at them quickly."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("sklearn")
    shutil.rmtree(folder / "photos")
    photos = write_photos(folder / "photos", 24)
    for name in ("labels", "corrected"):
        lines = [f"{photo.name},{photo.parent.name}" for photo in photos]
        (folder / f"{name}.csv").write_text("\n".join(["photo,label", *lines]))
    lines = [f"{photo.name},patient {number // 2}" for number, photo in enumerate(photos)]
    (folder / "patients.csv").write_text("\n".join(["photo,group", *lines]))
    (folder / "boxes").mkdir()
    for number, photo in enumerate(photos):
        (folder / "boxes" / f"{photo.stem}.txt").write_text(f"{number % 3} 0.5 0.5 0.4 0.4\n")
    (folder / "coco.names").write_text("\n".join(CLASSES))
    for name, network in (("before", tiny_network()), ("after", other_network())):
        limelight.audit(network, "photos", name, report=False)
    shutil.copytree("before", "audit")
    monkeypatch.setattr(NetworkOptions, "load", lambda _options: tiny_network())
    monkeypatch.setattr(limelight, "load_model", tiny_network)
    return folder


@pytest.fixture
def many_photos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos enough to choose on, and a choice that ends at its first question."""
    rng = np.random.default_rng(1)
    for number in range(16):
        noise = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "photos" / f"{number}.png")
    boxes = [f"{path.name},10,10,30,30" for path in sorted((folder / "photos").iterdir())]
    (folder / "boxes.csv").write_text("\n".join(["photo,x1,y1,x2,y2", *boxes]))
    # All 40 networks would take seconds; that they have learned nothing ends the choice.
    nothing = Learned(0.0, 0.5, 1.0)
    monkeypatch.setattr(choosing, "has_learned", lambda *_args, **_options: iter([nothing]))
    return folder


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export a network of two layers in place of the one that comes with limelight."""
    monkeypatch.setattr(limelight, "load_model", lambda: NETWORK)
    monkeypatch.setattr(NetworkOptions, "load", lambda _options: NETWORK)


def serve_briefly(
    settings: limelight.PageSettings, networks: Any, announce: Callable[[str], None]
) -> None:
    """Serve the page as its command does, and end as soon as it was told where it is."""
    with limelight.PageServer(replace(settings, port=0), networks) as page:
        announce(page.url)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let `limelight page` end once it answers; return the addresses that a browser was sent to."""
    opened = list[str]()
    command = "limelight.cli.commands.page"
    monkeypatch.setattr(f"{command}.serve", serve_briefly)
    monkeypatch.setattr(f"{command}.webbrowser.open", opened.append)
    # The real networks are a download.
    monkeypatch.setattr(f"{command}.load_model", lambda name: replace(NETWORK, name=name))
    load = NetworkOptions.load

    def loaded(options: NetworkOptions) -> limelight.Network:
        return replace(NETWORK, name="resnet50") if options.model == "resnet50" else load(options)

    monkeypatch.setattr(NetworkOptions, "load", loaded)
    return opened
