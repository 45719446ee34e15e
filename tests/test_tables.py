"""Results as rows, data frames and tables in files."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet
import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.hidden_packages import hide_for_a_test
from helpers.plain_network import IMAGES, net
from helpers.region_cases import OK, explanation, photo
from limelight.errors import InputError, MissingPackageError, OutputError
from limelight.photos.crops import CroppedPhoto
from limelight.status import Status
from limelight.tables import EXPLANATION_COLUMNS, TableFile
from limelight.targets.outputs import class_probabilities

ROOT = Path(__file__).parent.parent
RAW = torch.rand(2, 12, 17, generator=torch.Generator().manual_seed(3))


def test_a_row_has_what_was_explained() -> None:
    result = limelight.explain(net(), IMAGES, target=[3, 1], layer="conv")
    with torch.no_grad():
        logits = net()(IMAGES)
    rows = result.rows(["a.jpg", "b.jpg"], first=8)
    for b, (row, index) in enumerate(zip(rows, (3, 1), strict=True)):
        assert list(row) == list(EXPLANATION_COLUMNS)
        assert (row["photo"], row["image"]) == (("a.jpg", "b.jpg")[b], 8 + b)
        assert (row["target"], row["index"]) == (f"class {index}", index)
        assert row["score"] == pytest.approx(float(logits[b, index]))
        share = math.exp(logits[b, index]) / sum(math.exp(logit) for logit in logits[b])
        assert row["probability"] == pytest.approx(share)
        assert (row["status"], row["message"]) == ("ok", "")
        assert (row["method"], row["layer"]) == ("gradcam", "conv")
        heat = result.heatmap[b]
        assert heat[row["max_y_input"], row["max_x_input"]] == heat.max() == 1
        nothing = ("photo_width", "max_x_photo", "max_z_input", "share_in_region", "error")
        assert [row[name] for name in nothing] == [None] * len(nothing)


def test_the_maximum_on_the_photo_is_that_of_the_heatmap_of_the_photo() -> None:
    crops = [
        CroppedPhoto(photo(90, 60), (20.3, 0, 80.1, 60)),
        CroppedPhoto(photo(50, 70), (-5, 10, 55, 60)),  # with a border around it
    ]
    result = explanation(RAW, size=(24, 34), crops=crops)
    for row, (heat, seen), crop in zip(result.rows(), result.photo_heatmaps(), crops, strict=True):
        row_of_max, column = np.unravel_index(int(heat.argmax()), heat.shape)
        assert (row["max_y_photo"], row["max_x_photo"]) == (row_of_max, column)
        assert seen[row_of_max, column]
        assert (row["photo_width"], row["photo_height"]) == crop.photo.size


def test_the_maximum_on_a_photo_that_is_read_in_pieces() -> None:
    raw = torch.zeros(1, 4, 4)
    raw[0, 2, 3] = 1
    crop = CroppedPhoto.uncropped(photo(3000, 2000))
    (row,) = explanation(raw, size=(8, 8), crops=[crop]).rows()
    assert (row["max_x_photo"] // 750, row["max_y_photo"] // 500) == (3, 2)
    assert (row["max_x_input"] // 2, row["max_y_input"] // 2) == (3, 2)


def test_shares_of_the_heat() -> None:
    region, objects = torch.zeros(2, 12, 17), torch.zeros(2, 12, 17)
    region[0, 2:5, 3:9], region[1] = 1, 1  # the second is all of the image
    objects[1, 4:, :8] = 1
    result = explanation(RAW, region=region)
    first, second = result.rows(objects=objects)
    heat = result.heatmap.double()
    assert first["share_in_region"] == pytest.approx(float(heat[0, 2:5, 3:9].sum() / heat[0].sum()))
    assert second["share_in_region"] is None
    assert first["share_in_objects"] == 0
    inside = float(heat[1, 4:, :8].sum() / heat[1].sum())
    assert second["share_in_objects"] == pytest.approx(inside)
    boxes = limelight.Objects.of([[[0, 0, 17, 12]], [[0, 4, 8, 12]]], result.image)
    whole, part = result.rows(objects=boxes.mask)
    assert whole["share_in_objects"] == 1
    assert part["share_in_objects"] == pytest.approx(inside)


def test_the_share_in_a_box_that_was_explained() -> None:
    where = torch.zeros(16, 24)
    where[4:12, 6:20] = 1
    result = limelight.explain(
        Segmenter(), IMAGES.float(), target=limelight.Region(1, where=where), layer="conv"
    )
    for row, heat in zip(result.rows(), result.heatmap.double(), strict=True):
        expected = float(heat[4:12, 6:20].sum() / heat.sum())
        assert row["share_in_region"] == pytest.approx(expected)
        assert row["probability"] is None  # a segmenter has no probability of the whole photo


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.conv(x).relu())
        return logits


def test_a_map_that_shows_nothing_has_no_place() -> None:
    states = [Status("flat", "The map is the same everywhere."), OK]
    region = torch.zeros(2, 12, 17)
    region[:, :4] = 1
    flat, fine = explanation(RAW, status=states, region=region).rows()
    assert (flat["status"], flat["message"]) == ("flat", "The map is the same everywhere.")
    assert (flat["max_x_input"], flat["share_in_region"]) == (None, None)
    assert fine["max_x_input"] is not None


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (torch.tensor([[0.0, 2.0, -1.0]]), [1 / (1 + math.e**2 + 1 / math.e)]),
        (torch.tensor([[2.0]]), [1 / (1 + math.exp(-2))]),
        (torch.tensor([2.0]), [1 / (1 + math.exp(-2))]),
        ({"logits": torch.tensor([[0.0, 0.0]])}, [0.5]),
        (torch.rand(1, 3, 4, 4), None),
        ("no tensor", None),
    ],
)
def test_probabilities(output: Any, expected: list[float] | None) -> None:
    probabilities = class_probabilities(output)
    if expected is None:
        assert probabilities is None
    else:
        assert probabilities is not None
        assert probabilities[:, 0].tolist() == pytest.approx(expected)


def test_a_target_that_is_no_class_has_neither_index_nor_probability() -> None:
    result = limelight.explain(net(), IMAGES, target=lambda y: y[:, 0] - y[:, 1], layer="conv")
    for row in result.rows():
        assert (row["index"], row["probability"]) == (None, None)


def test_volumes_and_signals_have_a_place_too() -> None:
    volume = torch.zeros(1, 3, 4, 5)
    volume[0, 2, 1, 3] = 1
    (row,) = explanation(volume).rows()
    assert (row["max_x_input"], row["max_y_input"], row["max_z_input"]) == (3, 1, 2)
    signal = torch.zeros(1, 9)
    signal[0, 4] = 1
    (row,) = explanation(signal).rows()
    assert (row["max_x_input"], row["max_y_input"]) == (4, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"photos": ["a.jpg"]}, "There are 1 names of photos for 2 images; one for each"),
        ({"objects": torch.ones(2, 5, 5)}, r"shape \[2, 5, 5\]; masks \[2, 12, 17\]"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        explanation(RAW).rows(**arguments)


def test_the_frame_of_an_explanation() -> None:
    result = explanation(RAW)
    frame = result.to_frame(["a.jpg", "b.jpg"])
    assert list(frame.columns) == list(EXPLANATION_COLUMNS)
    assert frame["score"].tolist() == [0.25, 1.25]
    assert frame["photo"].tolist() == ["a.jpg", "b.jpg"]
    assert frame["index"].dtype == "Int64"  # whole numbers, though some may be missing
    assert frame["photo_width"].isna().all()
    assert frame["completeness_gap"].dtype == "float64"


def test_the_frame_of_a_comparison() -> None:
    grid = limelight.compare(net(), IMAGES, methods="gradcam rollout", targets=[0, 2])
    frame = grid.to_frame(["a.jpg", "b.jpg"])
    done = frame[frame["error"].isna()]
    assert done[["photo", "method", "index"]].values.tolist() == [
        ["a.jpg", "gradcam", 0],
        ["b.jpg", "gradcam", 0],
        ["a.jpg", "gradcam", 2],
        ["b.jpg", "gradcam", 2],
    ]
    skipped = frame[~frame["error"].isna()]
    assert skipped[["photo", "method"]].values.tolist() == [
        ["a.jpg", "rollout"],
        ["b.jpg", "rollout"],
    ]
    assert skipped["error"].tolist() == [grid.skipped[0].reason] * 2


def test_the_frame_of_a_measurement() -> None:
    images = IMAGES.float()
    result = limelight.explain(net(dtype=torch.float32), images, layer="conv")
    measured = limelight.measure(net(dtype=torch.float32), images, result, metrics="sparseness")
    frame = measured.to_frame()
    assert frame.to_dict("records")[0].keys() == measured.rows()[0].keys()
    assert frame["value"].tolist() == [row["value"] for row in measured.rows()]


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_for_a_test(monkeypatch, "pandas")
    with pytest.raises(MissingPackageError, match=r"the package pandas, .* 'limelight\[tables"):
        explanation(RAW).to_frame()
    assert explanation(RAW).rows()


ROWS: list[dict[str, Any]] = [
    {"name": 'a "b", c\nd', "index": 3, "score": 0.1 + 0.2},
    {"name": "=1+2", "index": None, "score": math.inf},
    {"name": "猫", "index": 2**40, "score": -5e-324},
]
KINDS = {"name": str, "index": int, "score": float}


def table(path: Path, columns: dict[str, type] | None = None) -> TableFile:
    made = TableFile.plan(path, columns)
    made.rows += ROWS
    made.write()
    return made


@pytest.mark.parametrize("columns", [None, KINDS])
def test_a_table_in_csv(tmp_path: Path, columns: dict[str, type] | None) -> None:
    table(tmp_path / "t.csv", columns)
    content = (tmp_path / "t.csv").read_bytes()
    assert content == (
        b'name,index,score\r\n"a ""b"", c\nd",3,0.30000000000000004\r\n=1+2,,inf\r\n'
        b"\xe7\x8c\xab,1099511627776,-5e-324\r\n"
    )
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["name"] for row in read] == [row["name"] for row in ROWS]
    assert [float(row["score"]) for row in read] == [row["score"] for row in ROWS]


@pytest.mark.parametrize("columns", [None, KINDS])
def test_a_table_in_parquet(tmp_path: Path, columns: dict[str, type] | None) -> None:
    table(tmp_path / "new" / "t.parquet", columns)
    read = pyarrow.parquet.read_table(tmp_path / "new" / "t.parquet")
    assert read.to_pylist() == ROWS
    assert list(map(str, read.schema.types)) == ["string", "int64", "double"]
    assert pandas.read_parquet(tmp_path / "new" / "t.parquet")["score"][0] == 0.1 + 0.2


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        TableFile.plan(tmp_path / name, KINDS).write()
    assert (tmp_path / "t.csv").read_text() == "name,index,score\n"
    assert pyarrow.parquet.read_table(tmp_path / "t.parquet").schema.names == list(KINDS)


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        made = TableFile.plan(tmp_path / name)
        made.rows.append({"photo": "\udcff.jpg"})
        made.write()
    assert (tmp_path / "t.csv").read_text() == "photo\n\\udcff.jpg\n"
    assert pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist() == [
        {"photo": "\\udcff.jpg"}
    ]


def test_tables_that_cannot_be_written_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    for path, message in (
        ("t.xlsx", "its suffix should be one of csv, parquet"),
        ("folder.csv", "there is a folder of that name. Pass another path"),
        ("file/t.csv", "Cannot write"),
    ):
        with pytest.raises(OutputError, match=message):
            TableFile.plan(tmp_path / path)
    hide_for_a_test(monkeypatch, "pyarrow")
    with pytest.raises(MissingPackageError, match=r"the package pyarrow, .* 'limelight\[tables"):
        TableFile.plan(tmp_path / "t.parquet")
    TableFile.plan(tmp_path / "t.csv")


def test_the_guide_names_every_column() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    for name in EXPLANATION_COLUMNS:
        assert f"| `{name}` |" in guide
