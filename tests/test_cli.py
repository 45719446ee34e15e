from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import limelight.cli
from helpers.commands import MODELS, Runner, folder, full_after, run, save_photo
from limelight.methods import METHODS

__all__ = ["folder", "run"]  # fixtures


Run = subprocess.CompletedProcess[str]


def test_explain_without_a_photo(run: Runner, folder: Path) -> None:
    code, out, _ = run("explain")
    assert code == 0
    for words in (
        "chelsea",
        "tiger cat",
        "ok",
        "bn2: the last layer with a grid",
        "%",
        " s to explain",
    ):
        assert words in out
    (picture,) = (folder / "limelight-out").iterdir()
    assert picture.name in out
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"


def test_json_says_the_same(run: Runner) -> None:
    code, out, _ = run("explain", "coffee", "--json")
    report = json.loads(out)
    assert code == 0
    (photo,) = report["photos"]
    assert photo["top5"][0]["class"] == "espresso"
    assert len(photo["top5"]) == 5
    (explained,) = photo["explanations"]
    assert explained["index"] == 967
    assert explained["layer"] == "bn2"
    assert explained["reason"]
    assert explained["status"] == "ok"
    assert Path(explained["picture"]).is_file()
    assert set(report["seconds"]) == {"load", "explain", "draw"}


def test_topk_explains_each_of_the_best(run: Runner, folder: Path) -> None:
    _, out, _ = run("explain", "chelsea", "--topk", 3, "--json", "--out", "maps")
    (photo,) = json.loads(out)["photos"]
    best = [one["class"] for one in photo["top5"][:3]]
    assert [one["target"] for one in photo["explanations"]] == best
    assert len(list((folder / "maps").iterdir())) == 3


@pytest.mark.parametrize("target", ["285", "Egyptian cat", "egyptian CAT"])
def test_target_by_index_and_name(run: Runner, target: str) -> None:
    _, out, _ = run("explain", "chelsea", "--target", target, "--json")
    assert json.loads(out)["photos"][0]["explanations"][0]["index"] == 285


def test_the_users_choices_reach_the_picture(run: Runner, folder: Path) -> None:
    code, _, _ = run(
        *("explain", "chelsea", "--model", "squeezenet1_0", "--weights", "none", "--size", 64),
        *("--mean", "0.5", "--std", "0.5,0.5,0.5", "--layer", "features[-1]", "--dtype", "float64"),
        *("--method", "gradcam", "--picture", "overlay", "--colormap", "jet", "--device", "cpu"),
        *("--target", 3, "--crop", "--out", "deep/er/map.jpg"),
    )
    assert code == 0
    with Image.open(folder / "deep" / "er" / "map.jpg") as drawn:
        # The centre of a 451 x 300 photo: 64 of 73 pixels.
        assert drawn.size == pytest.approx((263, 263), abs=2)


def test_a_folder_with_a_bad_photo_in_it(run: Runner, folder: Path) -> None:
    for seed, name in enumerate(("a/x.png", "b/x.png", "b/y.png")):
        save_photo(folder / "photos" / name, seed)
    (folder / "photos" / "b" / "w.jpg").write_bytes(b"broken")
    code, out, err = run("explain", "photos", "--out", "maps", "--batch", 2)
    assert code == 1
    assert "w.jpg" in err
    assert "1 of 4 photos could not be read" in err
    assert "3 photos with efficientnet-lite0" in out
    # Two photos are called x: neither picture overwrites the other.
    names = sorted(path.name for path in (folder / "maps").iterdir())
    assert len(names) == 3
    assert [name[0] for name in names] == ["x", "x", "y"]


def test_interrupted_work_is_kept(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import limelight.explanation

    for seed in range(3):
        save_photo(folder / "photos" / f"{seed}.png", seed)
    save, done = limelight.explanation.Explanation.save, list[int]()

    def interrupt(self: limelight.Explanation, *args: object, **options: object) -> Path:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return save(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("limelight.explanation.Explanation.save", interrupt)
    code, out, _ = run("explain", "photos", "--out", "maps")
    assert code == 130
    assert "Interrupted: 1 photos not done" in out
    assert len(list((folder / "maps").iterdir())) == 2


def test_what_was_explained_before_an_interrupt_is_drawn(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(4):
        save_photo(folder / "photos" / f"{seed}.png", seed)
    whole = limelight.explain_photos

    def stopping(*args: Any, **options: Any) -> Iterator[Any]:
        for number, one in enumerate(whole(*args, **options)):
            if number == 3:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(sys.modules["limelight.cli.commands.explain"], "explain_photos", stopping)
    code, out, _ = run("explain", "photos", "--out", "maps", "--json")
    assert code == 130
    report = json.loads(out)
    assert [Path(photo["photo"]).stem for photo in report["photos"]] == ["0", "1", "2"]
    assert len(list((folder / "maps").iterdir())) == 3


USAGE = [
    (["explain", "none.jpg"], "There is no file 'none.jpg'"),
    (["explain", "none.jpg", "--topk", "2"], "There is no file 'none.jpg'"),
    (["explain", "void"], "holds no photo"),
    (["explain", "--target", "tabbi"], "no class named 'tabbi'. Did you mean 'tabby'"),
    (["explain", "--target", "1000"], "an index from 0 to 999 was expected"),
    (["explain", "--target", "-1"], "an index from 0 to 999 was expected"),
    (["explain", "--layer", "blcks.3"], "no layer named 'blcks.3'"),
    (["explain", "--layer", "blocks[9]"], "'blocks' has 7 modules inside"),
    (["explain", "--method", "gradcm"], "Did you mean 'gradcam'"),
    (["explain", "--model", "resnet5O"], "Did you mean 'resnet50'"),
    (["explain", "--colormap", "jett"], "Did you mean 'jet'"),
    (["explain", "--topk", "0"], "--topk"),
    (["explain", "--topk", "1001"], "the model has 1000 classes"),
    (["explain", "--topk", "2", "--target", "3"], "--target or --topk"),
    (["explain", "--format", "gif"], "gif"),
    (["explain", "--out", "map.gif"], "its suffix should be one of"),
    (["explain", "--out", "map.png", "--format", "pdf"], "leave one out"),
    (["explain", "--out", "map.png", "--topk", "2"], "Pass a folder"),
    (["explain", "--out", "file/below"], "Cannot write"),
    (["explain", "--model", "nowhere:net"], "Cannot import 'nowhere'"),
    (["explain", "--frobnicate"], "No such option"),
    (["explain", "--target_layers", "x"], "No such option: --target_layers. Use --layer. See"),
    (["compare", "--methods", "gradcam", "layercam"], "--methods gradcam,layercam"),
    (["models", "resnet5O"], "Did you mean 'resnet50'"),
    (["explain", "--weights", "none.pth"], "There is no weights file"),
    (["explain", "--device", "toaster"], "The device 'toaster' cannot be used"),
    (["explain", "--mean", "red"], "--mean is 'red'"),
    (["explain", "--std", "0"], "positive deviations"),
    (["explain", "--mean", "128"], "Divide them by 255"),
    (["explain", "--std", "64"], "Divide them by 255"),
    (["explain", "--classes", "none.txt"], "class names cannot be read"),
]
DATA = [
    (["explain", "broken.jpg"], "not a picture"),
    (["explain", "--weights", "broken.jpg"], "no file that torch.save has written"),
]


@pytest.mark.parametrize(
    ("args", "text", "expected"),
    [(args, text, 2) for args, text in USAGE] + [(args, text, 1) for args, text in DATA],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_clear_sentence(
    run: Runner, folder: Path, args: list[str], text: str, expected: int
) -> None:
    (folder / "void").mkdir()
    (folder / "file").write_text("x")
    (folder / "broken.jpg").write_bytes(b"broken as can be")
    before = sorted(folder.rglob("*"))
    code, out, err = run(*args)
    assert code == expected
    assert text in " ".join(err.split())
    assert "Traceback" not in out + err
    left = [path for path in folder.rglob("*") if path not in before and path.is_file()]
    assert left == []


@pytest.mark.parametrize(
    ("factory", "code", "text"),
    [
        ("Net", 0, ""),
        ("Silent", 2, "The model returned None; a tensor was expected"),
        ("Broken", 1, "RuntimeError: shapes [1, 2] and [3] do not fit"),
        ("scripted", 2, "is a ScriptModule, which cannot be cut"),
        ("nan", 1, "not-finite"),
        ("One", 0, "class 0"),
    ],
)
def test_networks_of_the_users_own(
    run: Runner, folder: Path, factory: str, code: int, text: str
) -> None:
    name = f"nets_{factory.lower()}"
    (folder / f"{name}.py").write_text(MODELS)
    given, out, err = run("explain", "--model", f"{name}:{factory}", "--layer", "conv")
    assert given == code
    assert text in " ".join((out + err).split())
    assert "Traceback" not in out + err


def test_json_has_no_nan(run: Runner, folder: Path) -> None:
    (folder / "nets_json.py").write_text(MODELS)
    code, out, _ = run("explain", "--model", "nets_json:nan", "--json")
    assert code == 1
    report = json.loads(out, parse_constant=pytest.fail)
    assert report["photos"][0]["explanations"][0]["score"] is None


def test_classes_whose_names_look_alike_in_a_file_name(run: Runner, folder: Path) -> None:
    (folder / "nets_alike.py").write_text(MODELS)
    (folder / "names.txt").write_text("C\nC++\n???\n")
    args = ("--model", "nets_alike:Net", "--classes", "names.txt", "--topk", 3, "--out", "maps")
    assert run("explain", *args)[0] == 0
    names = sorted(path.name for path in (folder / "maps").iterdir())
    assert names == ["chelsea-gradcam-1.png", "chelsea-gradcam-2-c.png", "chelsea-gradcam-3-c.png"]


def test_random_weights_are_no_answer(run: Runner) -> None:
    _, out, _ = run("explain", "--model", "squeezenet1_0", "--weights", "none")
    assert "The weights are random" in out
    assert "random" not in run("explain")[1]


def test_layers(run: Runner) -> None:
    code, out, _ = run("layers", "--model", "vit_b_32")
    assert code == 0
    assert "encoder.layers.encoder_layer_11.ln_1" in out
    assert "tokens, 1 prefix" in out
    assert "7 x 7" in out
    assert "Chosen: encoder.layers.encoder_layer_11.ln_1, the last layer" in out
    _, out, _ = run("layers", "--model", "squeezenet1_0", "--json")
    rows = json.loads(out)
    assert [row["layer"] for row in rows if row["chosen"]] == ["features"]
    assert rows[0]["grid"] == [13, 13]
    _, everything, _ = run("layers", "--model", "squeezenet1_0", "--all")
    assert "it has no parameters" in everything
    assert "measured" not in everything, "convolutions and poolings keep the axes of the picture"


LOOKING = """
import torch
from torch import nn


class Cropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 3)

    def forward(self, images):
        return self.fc(self.conv(images[..., 16:80]).tanh().mean((2, 3)))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 16, 16)
        self.front, self.rear = (nn.Parameter(torch.randn(1, n, 8)) for n in (1, 2))
        self.norm, self.queries = nn.LayerNorm(8), nn.Parameter(torch.randn(1, 16, 8))
        self.decoder, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.order = [5, 17, 9, 12, 3, 0, 14, 7, 11, 2, 6, 13, 1, 8, 4, 15, 16, 10, 18]

    def forward(self, images):
        patches = self.patches(images).flatten(2).mT
        tokens = torch.cat([self.front, patches, self.rear], dim=1)[:, self.order]
        tokens = self.norm(tokens)
        keys = (self.queries.repeat(len(images), 1, 1) @ tokens.mT).softmax(-1)
        return self.head(self.decoder(keys @ tokens).tanh().mean(1))


def cropping():
    torch.manual_seed(0)
    return Cropping().eval()


def tokens():
    torch.manual_seed(0)
    return Tokens().eval()
"""


def test_layers_tell_what_was_measured(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "looking.py").write_text(LOOKING, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    command = ("layers", "--model", "looking:tokens", "--size", "64")
    code, out, err = run(*command, "--all", "--json")
    assert code == 0, err
    rows = {row["layer"]: row for row in json.loads(out)}
    norm = rows["norm"]
    assert (norm["grid"], norm["order"], norm["without_place"]) == ([4, 4], "its own", 3)
    assert (norm["settled"], norm["dropped"], norm["windows"]) == ("measured", 0, 1)
    patches = rows["patches"]
    assert (patches["settled"], patches["order"], patches["without_place"]) == (
        "operations",
        "rows",
        0,
    )
    assert patches["span"] == [{"start": 0, "end": 1, "seen": [0, 1]}] * 2
    assert rows["decoder"]["layout"] is None
    assert "no place" in rows["decoder"]["objection"]
    assert "decoder" not in {row["layer"] for row in json.loads(run(*command, "--json")[1])}
    words = " ".join(run(*command, "--all")[1].split())
    assert "why it is no grid" in words
    assert "without a" in words
    _, out, _ = run("layers", "--model", "looking:cropping", "--size", "96", "--json")
    _, columns = json.loads(out)[0]["span"]
    assert [columns["start"], columns["end"]] == pytest.approx([1 / 6, 5 / 6])
    assert columns["seen"] == pytest.approx([1 / 6, 5 / 6])


def test_layers_tell_cost_and_gradient(run: Runner) -> None:
    _, out, _ = run("layers", "--model", "resnet18", "--json")
    rows = json.loads(out)
    by_layer = {row["layer"]: row for row in rows}
    costs = [by_layer[name]["cost"] for name in ("conv1", "layer1", "layer2", "layer3", "layer4")]
    assert costs == sorted(costs)
    assert costs[0] < 0.1
    assert costs[-1] > 0.99  # what is left is one linear layer
    assert by_layer["layer4"]["gradient_cells"] == 1


SWIN = """
from torchvision.models.swin_transformer import SwinTransformer


def swin():
    sizes = dict(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=[7, 7])
    return SwinTransformer([4, 4], **sizes)
"""


def test_layers_tell_how_far_a_padded_grid_reaches(run: Runner, folder: Path) -> None:
    (folder / "padding.py").write_text(SWIN)
    code, out, err = run("layers", "--model", "padding:swin", "--size", "230")
    assert code == 0, err
    assert "spans 111% x 111% of the picture" in out


def test_layers_draw_the_same_class_at_every_stage(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png", size=(300, 260))
    code, out, err = run("layers", "--photo", "a.png", "--target", "tabby", "--out", "s/stages.png")
    assert code == 0, err
    assert "The same class at every stage is in s/stages.png" in out
    with Image.open("s/stages.png") as sheet:
        assert sheet.width > 3 * sheet.height  # the photo, and six stages beside it
    assert "Where the cells of the chosen layer look is in s/stages-cells.png" in out.replace(
        "\n", " "
    )
    with Image.open("s/stages-cells.png") as cells:
        assert cells.width > 1.7 * cells.height  # two panels
    code, _, err = run("layers", "--photo", "a.png", "--out", "stages.npz")
    assert code == 0, err
    with np.load("stages-cells.npz") as arrays:
        assert arrays["centre"].shape == arrays["spread"].shape == (2, 7, 7)
        assert arrays["energy"].shape == (7, 7)
    code, _, err = run("layers", "--photo", "nothing.png")
    assert code != 0
    assert "There is no file 'nothing.png'" in err


DETECTOR = ("--model", "ssdlite320_mobilenet_v3_large", "--weights", "none")
SEGMENTER = ("--model", "lraspp_mobilenet_v3_large", "--weights", "none")


def test_explain_boxes_and_pixels(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png", size=(320, 320))
    code, out, err = run(
        "explain", "a.png", *DETECTOR, "--box", "96,96,224,224", "-t", "3", "--json"
    )
    assert code == 0, err
    (one,) = json.loads(out)["photos"][0]["explanations"]
    assert one["target"].endswith("in box [96, 96, 224, 224]")
    assert one["index"] == 3
    assert one["method"] == "hirescam"
    assert one["place"] == [96, 96, 224, 224]
    _, out, _ = run("explain", "a.png", *DETECTOR)
    assert "hirescam, the default for a score that is read at one place" in " ".join(out.split())
    _, out, _ = run("explain", "a.png", *DETECTOR, "--method", "layercam")
    assert "layercam, the default" not in " ".join(out.split())
    _, out, _ = run("explain", "a.png")
    assert "gradcam, the default" in " ".join(out.split())
    _, out, _ = run("walkthrough", "a.png")
    assert "gradcam, the default" in " ".join(out.split())
    code, out, err = run("explain", "a.png", *SEGMENTER, "--pixel", "300,20", "--json")
    assert code == 0, err
    report = json.loads(out)["photos"][0]
    # The photo is enlarged to 520 pixels, and the pixel with it.
    assert report["explanations"][0]["target"].endswith("at pixel (487, 32)")
    # The place is in pixels of the photo, as the option is: column 20, row 300.
    left, top, right, bottom = report["explanations"][0]["place"]
    assert left <= 20 <= right <= left + 2
    assert top <= 300 <= bottom <= top + 2
    assert sum(answer["probability"] for answer in report["top5"]) <= 1.001


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--box", "1,2,3"), "--box is '1,2,3'; x1,y1,x2,y2 in pixels of the photo"),
        (("--pixel", "1,x"), "--pixel is '1,x'; row,column in pixels"),
        (("--pixel", "1,2", "--box", "1,2,3,4"), "give --box or --pixel, not both"),
        (("--box", "1,2,30,40"), "A box needs a detector"),
        (("b.png", "--box", "1,2,30,40"), "A box or pixel is of one photo, and there are 2"),
    ],
    ids=["three", "letter", "both", "classifier", "two photos"],
)
def test_boxes_and_pixels_that_cannot_be_explained_say_why(
    run: Runner, folder: Path, options: tuple[str, ...], text: str
) -> None:
    for name in ("a.png", "b.png"):
        save_photo(folder / name)
    code, _, err = run("explain", "a.png", *options)
    assert code == 2
    assert text in " ".join(err.replace("│", " ").split())
    assert not list(folder.glob("limelight-out/*"))


def test_methods_and_models(run: Runner) -> None:
    _, out, _ = run("methods")
    for row in METHODS.values():
        assert row.name in out
    _, out, _ = run("methods", "--json")
    assert [row["name"] for row in json.loads(out)] == list(METHODS)
    assert [row["avoid"] for row in json.loads(out)] == [row.avoid for row in METHODS.values()]
    _, out, _ = run("methods", "Grad-CAM++", "rise")
    assert "gradcam++" in out
    assert "masks=4000  an integer of at least 1" in out
    assert "layercam" not in out.replace(METHODS["gradcam++"].avoid, "")
    assert "Not: When time counts" in out
    code, _, err = run("methods", "ries")
    assert code == 2
    assert "Did you mean 'rise'" in err
    _, out, _ = run("models")
    assert "efficientnet-lite0" in out
    assert "resnet50" in out
    _, out, _ = run("models", "vit_b_*", "--json")
    assert json.loads(out)["torchvision"] == ["vit_b_16", "vit_b_32"]


def test_help_and_version(run: Runner) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("explain", "layers", "models", "methods"):
        assert command in out
        assert run(command, "--help")[0] == 0
    assert run("--version")[1].startswith("limelight ")
    code, out, err = run()
    assert "Usage" in out + err


def test_the_installed_command(folder: Path) -> None:
    script = Path(sys.executable).with_name("limelight")
    done: Run = subprocess.run(
        [script, "explain", "none.jpg"], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: There is no file 'none.jpg'")
    assert done.stdout == ""


def test_a_bad_path_leaves_the_others_to_be_done(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    save_photo(folder / "b.png", 1)
    (folder / "loop.jpg").symlink_to("loop.jpg")
    long = "x" * 300 + ".jpg"
    code, out, err = run("explain", "a.png", "loop.jpg", long, "b.png", "--json", "--out", "maps")
    assert code == 1
    report = json.loads(out)
    assert [one["photo"] for one in report["photos"]] == ["a.png", "b.png"]
    assert [one["photo"] for one in report["failed"]] == ["loop.jpg", long]
    for command in ("compare", "sanity", "measure", "concepts"):
        more = {"compare": ["--methods", "gradcam"], "concepts": []}
        code, out, err = run(
            *(command, "a.png", "loop.jpg", "--out", command),
            *more.get(command, ["--methods", "gradcam"]),
            *(["--metrics", "deletion:steps=2"] if command == "measure" else []),
            *(["--steps", "2"] if command == "sanity" else []),
        )
        assert code == 1, command
        assert "'loop.jpg' is a link that leads back to itself" in " ".join(err.split())
        assert any((folder / command).iterdir())


@pytest.mark.parametrize(
    "args",
    [
        ("explain", ""),
        ("explain", "a.png", ""),
        ("walkthrough", ""),
        ("layers", "--photo", ""),
        ("layers", "--photo", "a.png", "--out", ""),
        ("explain", "a.png", "--out", ""),
        ("explain", "a.png", "--classes", ""),
        ("explain", "a.png", "--weights", ""),
        ("compare", "a.png", "--out", ""),
        ("concepts", "a.png", "--out", ""),
        ("sanity", "a.png", "--out", ""),
        ("walkthrough", "a.png", "--out", ""),
        ("trace", "a.png", "--out", ""),
        *(("measure", "a.png", f"--{name}", "") for name in ("masks", "boxes", "out")),
        ("measure", "a.png", "--boxes", ".", "--names", ""),
        ("measure", "a.png", "--boxes", ".", "--match", ""),
        *(("choose", "a.png", f"--{name}", "") for name in ("masks", "boxes", "out")),
        ("choose", "a.png", "--boxes", ".", "--names", ""),
    ],
    ids=" ".join,
)
def test_an_empty_name_is_not_the_working_directory(
    run: Runner, folder: Path, args: tuple[str, ...]
) -> None:
    save_photo(folder / "a.png")
    code, _, err = run(*args)
    assert code == 2
    assert "an empty name" in " ".join(err.replace("│", " ").split())
    assert [path.name for path in folder.iterdir()] == ["a.png"]


def test_a_long_name_is_shortened_where_pictures_are_written(run: Runner, folder: Path) -> None:
    names = [f"{'猫' * 78}{end}.png" for end in ("abc", "abd")]  # 241 bytes
    for seed, name in enumerate(names):
        save_photo(folder / "photos" / name, seed)
    code, _, err = run("explain", "photos", "--out", "maps", "--target", "285")
    assert code == 0, err
    written = sorted(path.name for path in (folder / "maps").iterdir())
    assert len(written) == 2
    for name in written:
        assert name.startswith("猫" * 60)
        assert "-gradcam-egyptian-cat-" in name
        assert name.endswith(".png")
        assert 245 < len(name.encode()) <= 255
    for command, ending in (("walkthrough", ".html"), ("trace", ".npz")):
        more = ("--save", "npz") if command == "trace" else ()
        assert run(command, f"photos/{names[0]}", "--out", command, *more)[0] == 0
        (file,) = (folder / command).iterdir()
        assert file.name.endswith(ending)


def test_what_was_written_before_the_disk_was_full_is_reported(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        save_photo(folder / "photos" / f"{seed}.png", seed)
    full_after(monkeypatch, 1)
    code, out, err = run("explain", "photos", "--out", "maps", "--json", "--batch", 1)
    assert code == 2
    report = json.loads(out)
    assert [one["photo"] for one in report["photos"]] == ["photos/0.png"]
    (unwritten,) = report["unwritten"]
    assert unwritten["photo"] == "photos/1.png"
    assert "No space left on device. Free some space, or pass another" in unwritten["error"]
    full_after(monkeypatch, 0)
    code, out, err = run("explain", "photos", "--out", "maps", "--batch", 1)
    assert code == 2
    assert "1 of 3 photos could not be written" in err
    assert "2 photos not tried" in err


@pytest.mark.parametrize("command", ["compare", "sanity", "measure", "trace", "concepts"])
def test_what_was_found_is_told_also_when_it_cannot_be_written(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    save_photo(folder / "a.png")
    full_after(monkeypatch, 0)
    args = {
        "compare": ("--methods", "gradcam", "--json"),
        "sanity": ("--methods", "gradcam", "--steps", 2),
        "measure": ("--methods", "gradcam", "--metrics", "deletion:steps=2"),
        "trace": ("--save", "npz"),
        "concepts": ("--count", 2),
    }
    code, out, err = run(command, "a.png", *args[command])
    assert code == 2
    assert "No space left on device. Free some space, or pass another" in out + err
    told = {
        "compare": '"explanations"',
        "trace": ", score ",
        "concepts": "concept",
        "sanity": "likeness",
    }
    assert told.get(command, "deletion") in out


def test_one_file_that_cannot_be_written_does_not_end_the_run(run: Runner, folder: Path) -> None:
    for seed in range(2):
        save_photo(folder / "photos" / f"{seed}.png", seed)
    taken = folder / "maps" / "0-gradcam-tabby.png"
    (taken / "x").mkdir(parents=True)
    code, out, _ = run("explain", "photos", "--out", "maps", "--target", "tabby", "--json")
    assert code == 2
    report = json.loads(out)
    assert [one["photo"] for one in report["photos"]] == ["photos/1.png"]
    assert "There is a folder of that name" in report["unwritten"][0]["error"]
