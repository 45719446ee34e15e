"""`--output KEY` of every command that explains: which part of the output holds the logits."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.commands import Runner, folder, run, save_photo

__all__ = ["folder", "run"]  # fixtures

#: A network whose first part is no answer of the classes: it has seven numbers, for three names.
NETWORK = """
import torch
import limelight

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 4), torch.nn.ReLU())
        self.pose, self.kind = torch.nn.Linear(8, 7), torch.nn.Linear(8, 3)

    def forward(self, images):
        features = self.body(images).mean((2, 3))
        return {"pose": self.pose(features), "kind": self.kind(features)}

def build():
    torch.manual_seed(0)
    return limelight.Network(
        name="two",
        model=Net(),
        preprocess=limelight.Preprocess(size=(32, 32), resize=32),
        classes=("left", "middle", "right"),
    )
"""

TARGET = ("--target", "right")


@pytest.fixture
def photos(folder: Path) -> Path:
    (folder / "two.py").write_text(NETWORK)
    for number in range(16):
        save_photo(folder / "photos" / f"{number}.png", number, (48, 40))
    return folder / "photos"


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "photos/0.png", *TARGET),
        ("compare", "photos/0.png", "--methods", "gradcam", *TARGET),
        ("measure", "photos/0.png", "--methods", "gradcam", "--metrics", "increase", *TARGET),
        ("sanity", "photos/0.png", "--methods", "gradcam", "--steps", "2", *TARGET),
        ("layers", "--photo", "photos/0.png", *TARGET),
        ("trace", "photos/0.png", "--layer", "body", *TARGET),
        ("walkthrough", "photos/0.png", "--out", "page.html", *TARGET),
        ("choose", "photos", "--methods", "gradcam", "--metrics", "increase", *TARGET),
    ],
    ids=lambda words: words[0],
)
def test_the_part_that_holds_the_logits_is_named(
    words: tuple[str, ...], run: Runner, photos: Path
) -> None:
    command = (*words, "--model", "two:build")
    code, _, err = run(*command)
    assert code != 0
    assert "3 class names for a model with 7 classes" in err
    assert "say which with --output KEY" in err
    code, _, err = run(*command, "--output", "kind")
    assert (code, err) == (0, "")


def test_what_a_network_raises_ends_before_what_it_was_given(run: Runner, photos: Path) -> None:
    (photos.parent / "grey.py").write_text(NETWORK.replace("Conv2d(3,", "Conv2d(1,"))
    code, _, err = run("explain", "photos/0.png", "--model", "grey:build")
    assert code == 1
    assert "got 3 channels instead. The images were torch.float32 [1, 3, 32, 32]" in err
