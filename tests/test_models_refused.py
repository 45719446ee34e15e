"""Networks and weights that cannot be loaded: one clear error, and the model is unchanged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from limelight.errors import MissingWeightsError, ModelError, OptionError, WeightsError
from limelight.models import zoo
from limelight.models.state import fit, read_state


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))


KINDS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "integers": (Tensor.int, "file int32, model float32"),
    "truth": (Tensor.bool, "file bool, model float32"),
    "complex": (lambda t: t.to(torch.complex64), "file complex64, model float32"),
    "sparse": (Tensor.to_sparse, "file sparse float32, model float32"),
    "quantised": (
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        "file qint8, model float32",
    ),
    "meta": (lambda t: t.to("meta"), "file meta float32, model float32; a meta tensor has no"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")  # torch.quantize_per_tensor is deprecated
def test_weights_of_another_kind_are_refused_by_key(kind: str, tmp_path: Path) -> None:
    convert, words = KINDS[kind]
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = before | {"0.weight": convert(torch.ones(4, 3, 1, 1))}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="state dict of the plain network") as caught:
        fit(model, read_state(tmp_path / "w.pth"), "w.pth")
    assert f"1 of another kind:\n    0.weight: {words}" in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_another_precision_fit_and_counts_with_them(dtype: torch.dtype) -> None:
    model = network()
    state = {key: (value + 1).to(dtype) for key, value in model.state_dict().items()}
    fit(model, state, "w")
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key].to(value.dtype))


@pytest.mark.parametrize("name", ["efficientnet-lite0", "resnet18", "hf:nowhere", "yolo:nowhere"])
def test_an_empty_list_of_classes_is_refused(name: str) -> None:
    problem = "There are no class names in classes; a name for each class was expected, or None"
    with pytest.raises(OptionError, match=problem):
        limelight.load_model(name, weights="none", classes=[])
    images = torch.rand(1, 3, 8, 8)
    for call in (limelight.explain, limelight.compare, limelight.cut):
        with pytest.raises(OptionError, match=problem):
            call(network(), images, classes=())


def test_numbers_that_are_no_counts_are_refused() -> None:
    state = network().state_dict() | {"1.num_batches_tracked": torch.tensor(1.5)}
    with pytest.raises(WeightsError, match=r"1\.num_batches_tracked: file float32, model int64"):
        fit(network(), state, "w")


@pytest.mark.parametrize("count", [2, 3, 40])
def test_an_archive_that_is_cut_short_is_not_taken_for_code(tmp_path: Path, count: int) -> None:
    torch.save(network().state_dict(), tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:count])
    with pytest.raises(WeightsError, match=f"an archive without its end, of {count} bytes"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(MissingWeightsError, match="There is no weights file"):
        read_state(Path(name))


OWN = """
import sys
import torch
from torch import nn

def leaving(): sys.exit(3)
def silent(): raise RuntimeError
def lines(): raise ValueError("first\\nsecond")
def meta(): return nn.Linear(2, 2, device="meta")
def refused():
    import limelight
    return limelight.load_model("squeezenet1_0", weights="none.pth")
def build():
    import helper_beside
    return nn.Linear(2, 2)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = {"refused_nets": OWN, "refused_syntax": "def (", "refused_exit": "raise SystemExit"}
    for name, text in (modules | {"helper_beside": ""}).items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("refused_syntax:x", r"Importing 'refused_syntax'.* raised SyntaxError: .*line 1\)"),
        ("refused_exit:x", r"Importing 'refused_exit'.* called sys.exit\(\) \(refused_exit.py, l"),
        ("refused_nets:leaving", r"'refused_nets:leaving' called sys.exit\(3\) \(refused_nets.py"),
        ("refused_nets:silent", r"raised RuntimeError without a message \(refused_nets.py, line 7"),
        ("refused_nets:lines", r"raised ValueError: first\nsecond \(refused_nets.py, line 8\)"),
        ("refused_nets:meta", "has no weights: parameters are on the device 'meta'"),
        ("refused_nets:none", r"There is no 'none' in 'refused_nets' \(.*refused_nets.py\)"),
        ("sys:exit", r"The factory 'sys:exit' called sys.exit\(\)"),
        *((name, "names no network of your own") for name in (":", "::", ":net", "m:", "../m:n")),
    ],
)
def test_a_network_of_ones_own_that_fails(here: Path, name: str, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        limelight.load_model(name)


def test_an_error_of_limelight_in_a_factory_stays_what_it_is(here: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"There is no weights file 'none.pth'"):
        limelight.load_model("refused_nets:refused")


def test_the_working_directory_is_first_for_the_users_module_and_last_afterwards(
    here: Path,
) -> None:
    limelight.load_model("refused_nets:build")
    assert sys.path[-1] == str(here)
    assert sys.path.count(str(here)) == 1
    assert sys.modules["helper_beside"].__file__ == str(here / "helper_beside.py")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hub cannot be reached; what asks it nevertheless is noted."""
    asked: list[str] = []

    class Session:
        def head(self, url: str, *, timeout: float) -> None:
            asked.append(url)
            raise OSError("no route to host")

        def request(self, *_: Any, **__: Any) -> None:
            asked.append("again")
            raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.get_session", Session)
    return asked


@pytest.mark.parametrize("name", ["timm:resnet18", "test_vit", "hf:nobody/nothing"])
def test_a_hub_that_cannot_be_reached_is_asked_once(
    name: str,
    offline: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"cannot be reached, and .* downloaded before"):
        limelight.load_model(name)
    assert len(offline) == 1
    assert "Retrying" not in capfd.readouterr().err


def test_weights_that_were_downloaded_before_are_taken(
    offline: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(5)
    saved = timm.create_model("test_vit").state_dict()
    save_file(saved, tmp_path / "model.safetensors")
    monkeypatch.setattr(zoo, "downloaded", lambda *_: tmp_path / "model.safetensors")
    loaded = limelight.load_model("test_vit").model.state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in loaded.items())


def test_folders_are_not_looked_for_on_the_hub(tmp_path: Path, offline: list[str]) -> None:
    for source in (str(tmp_path), f"{tmp_path}/nothing"):
        with pytest.raises(WeightsError, match="cannot be had from the hub or a folder"):
            limelight.load_model(f"hf:{source}")
    assert offline == []
