"""Rows of an audit: what stands in them, and that none is lost when a run goes on."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import limelight
from helpers.audited import (
    CLASSES,
    PREPROCESS,
    TwoStages,
    assert_same_rows,
    only_rows,
    rows_in,
    tiny_network,
    write_photos,
)
from limelight import Network
from limelight.audits import pipeline
from limelight.audits.data.folders import LocalFolder
from limelight.audits.rows.looking import LookPlan
from limelight.audits.rows.peaks import difference_hash, find_peaks
from limelight.audits.rows.shards import read_rows
from limelight.errors import OptionError, OutputError, PhotoError

pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 24)
    return folder


def audited(photos: Path, out: Path, **options: Any) -> Any:
    only_rows(options.pop("network", None) or tiny_network(), photos, out, **options)
    return rows_in(out)


def input_of(path: str) -> Tensor:
    """The photo as the network takes it, without limelight's own batches."""
    return PREPROCESS(Image.open(path))[None]


# What stands in a row


def test_a_row_has_the_answer_and_the_map_of_explain(photos: Path, tmp_path: Path) -> None:
    network, rows = tiny_network(), audited(photos, tmp_path)
    assert len(rows) == 24
    for number, path in enumerate(rows.photo):
        images = input_of(path)
        logits = network.model(images)[0].detach()
        best = int(logits.argmax())
        assert rows.predicted[number] == rows.explained[number] == CLASSES[best]
        assert rows.probability[number] == pytest.approx(float(logits.softmax(0)[best]), rel=1e-5)
        assert rows.score[number] == pytest.approx(float(logits[best]), rel=1e-5)
        assert rows.label[number] == Path(path).parent.name
        assert rows.right[number] == (rows.label[number] == rows.predicted[number])
        raw = limelight.explain(network.model, images, layer="late").raw[0].clamp(min=0)
        expected = (raw / raw.max()).numpy() if raw.max() > 0 else np.zeros((8, 8))
        assert rows.maps[number] == pytest.approx(expected, abs=1e-3)  # half precision
    assert set(rows.layer) == {"late"}
    assert set(rows.method) == {"gradcam"}


def test_peaks_are_the_highest_cells_with_no_higher_neighbour(photos: Path, tmp_path: Path) -> None:
    rows = audited(photos, tmp_path)
    for number in range(len(rows)):
        heat, of_photo = rows.maps[number].astype(float), rows.peaks.photo == number
        found = list(zip(rows.peaks.row[of_photo], rows.peaks.column[of_photo], strict=True))
        assert len(found) <= 3
        if heat.max() > 0:
            assert heat[found[0]] == 1
        for place in found:
            row, column = place
            around = heat[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            assert heat[place] >= around.max() - 1e-3
            assert heat[place] >= 0.4 - 1e-3
        for one in found:
            for other in found:
                if one != other:
                    assert max(abs(one[0] - other[0]), abs(one[1] - other[1])) > 1


def test_a_peak_next_to_a_higher_cell_is_none() -> None:
    heat = torch.zeros(1, 10, 10, dtype=torch.float32, device="cpu")
    heat[0, 2, 2], heat[0, 2, 3], heat[0, 7, 7], heat[0, 0, 9] = 1.0, 0.9, 0.5, 0.39
    (cells,) = find_peaks(heat)
    assert cells.tolist() == [22, 77]


def test_features_are_the_early_activations_around_a_peak_weighed_by_heat(
    photos: Path, tmp_path: Path
) -> None:
    network, rows = tiny_network(), audited(photos, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["plan"]["features_layer"] == "early"
    model = network.model
    assert isinstance(model, TwoStages)
    for peak in range(0, len(rows.peaks), 5):
        number = int(rows.peaks.photo[peak])
        early = model.early(input_of(rows.photo[number]))[0].detach().double().numpy()
        cells = early.reshape(12, 8, 2, 8, 2).mean((2, 4))  # 16 x 16 to 8 x 8
        heat = rows.maps[number].astype(float)
        total, weights = np.zeros(12), 0.0
        for row in range(rows.peaks.row[peak] - 1, rows.peaks.row[peak] + 2):
            for column in range(rows.peaks.column[peak] - 1, rows.peaks.column[peak] + 2):
                if 0 <= row < 8 and 0 <= column < 8:
                    total += heat[row, column] * cells[:, row, column]
                    weights += heat[row, column]
        assert rows.peaks.features[peak] == pytest.approx(total / weights, abs=2e-3)


def test_many_channels_become_128_features_that_keep_distances(
    photos: Path, tmp_path: Path
) -> None:
    wide = audited(photos, tmp_path / "wide", network=tiny_network(early=600))
    features = wide.peaks.features
    assert features.shape[1] == 128
    model = tiny_network(early=600).model
    assert isinstance(model, TwoStages)
    again = audited(photos, tmp_path / "again", network=tiny_network(early=600))
    assert np.array_equal(features, again.peaks.features), "the projection is always the same"


def test_the_share_of_heat_on_boxes_is_that_of_measure(photos: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    lines = [f"{n:03d}.png,{n % 20},{n % 15},{n % 20 + 15},{n % 15 + 20}" for n in range(0, 24, 2)]
    boxes.write_text("photo,x1,y1,x2,y2\n" + "\n".join(lines))
    network, rows = tiny_network(), audited(photos, tmp_path / "out", boxes=boxes)
    marked = np.isfinite(rows.energy_inside)
    known = np.array([int(Path(path).stem) % 2 == 0 for path in rows.photo])
    assert np.array_equal(marked, known & rows.ok)
    for number in np.flatnonzero(marked):
        images, n = input_of(rows.photo[number]), int(Path(rows.photo[number]).stem)
        box = [each * 32 / 40 for each in (n % 20, n % 15, n % 20 + 15, n % 15 + 20)]
        result = limelight.explain(network.model, images, layer="late")
        measured = limelight.measure(
            network.model,
            images,
            result,
            metrics=["energy-pointing", "pointing-game", "mass-accuracy"],
            objects=[[box]],
        )
        for metric, column in (
            ("energy-pointing", rows.energy_inside),
            ("pointing-game", rows.pointing_hit),
            ("mass-accuracy", rows.mass_accuracy),
        ):
            value = measured.estimate("gradcam", metric).own.value
            assert column[number] == pytest.approx(value, rel=1e-4), metric


@pytest.mark.parametrize("layer", ["early.0", "late.0", "late"])
def test_a_layer_can_be_named(photos: Path, tmp_path: Path, layer: str) -> None:
    network, rows = tiny_network(), audited(photos, tmp_path, layer=layer)
    assert set(rows.layer) == {layer}
    raw = limelight.explain(network.model, input_of(rows.photo[3]), layer=layer).raw[0]
    heat = raw.clamp(min=0)
    assert rows.maps[3] == pytest.approx((heat / heat.max()).numpy(), abs=1e-3)


def test_a_method_of_the_input_is_kept_in_cells(photos: Path, tmp_path: Path) -> None:
    network, rows = tiny_network(), audited(photos, tmp_path, method="saliency")
    assert rows.maps.shape == (24, 14, 14)
    raw = limelight.explain(network.model, input_of(rows.photo[3]), method="saliency").raw[0]
    coarse = torch.nn.functional.adaptive_avg_pool2d(raw.clamp(min=0)[None], 14)[0]
    assert rows.maps[3] == pytest.approx((coarse / coarse.max()).numpy(), abs=2e-3)


def test_a_corrupt_photo_is_a_row_with_the_error(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_photos(folder, 9)
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    (folder / "cat" / "empty.jpg").write_bytes(b"")
    rows = audited(folder, tmp_path / "out")
    assert len(rows) == 11
    bad = [Path(path).stem for path, error in zip(rows.photo, rows.error, strict=True) if error]
    assert sorted(bad) == ["broken", "empty"]
    assert not rows.maps[rows.error != ""].any()


def test_photos_of_any_size_have_maps_of_one_form(tmp_path: Path) -> None:
    write_photos(tmp_path / "a", 5, size=(48, 40))
    write_photos(tmp_path / "b", 4, size=(64, 32))
    network = replace(tiny_network(), preprocess=replace(PREPROCESS, size=None, resize=None))
    rows = audited(tmp_path, tmp_path / "out", network=network)
    assert len(rows) == 9
    assert rows.maps.shape == (9, 10, 12)
    assert rows.maps[rows.ok].reshape(int(rows.ok.sum()), -1).max(1) == pytest.approx(1)


def test_maps_of_the_labels_are_of_the_labels(photos: Path, tmp_path: Path) -> None:
    network, rows = tiny_network(), audited(photos, tmp_path, target="label", labels="folders")
    assert list(rows.explained) == list(rows.label)
    for number, path in enumerate(rows.photo[:6]):
        logits = network.model(input_of(path))[0].detach()
        label = CLASSES.index(rows.label[number])
        assert rows.score[number] == pytest.approx(float(logits[label]), rel=1e-5)
        assert rows.predicted[number] == CLASSES[int(logits.argmax())]


def test_photos_that_look_alike_have_hashes_of_few_different_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(20, 3, 6, 6, generator=generator, device="cpu", dtype=torch.float32)
    images = torch.nn.functional.interpolate(rough, size=64, mode="bicubic")
    noise = torch.randn(images.shape, generator=generator, device="cpu", dtype=torch.float32)
    hashes, again = difference_hash(images), difference_hash(images + 0.02 * noise)
    same = [(a ^ b).bit_count() for a, b in zip(hashes, again, strict=True)]
    other = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert max(same) <= 4
    assert min(other) >= 12
    assert all(0 <= each < 2**64 for each in hashes)


# A run goes on


class Interrupts(TwoStages):
    """Raises at a batch."""

    left = math.inf

    def forward(self, x: Tensor) -> Tensor:
        type(self).left -= 1
        if type(self).left < 0:
            raise KeyboardInterrupt
        return super().forward(x)


@pytest.mark.parametrize("batches", [3, 5, 8])
def test_an_interrupted_run_goes_on_to_the_same_rows(
    photos: Path, tmp_path: Path, batches: int
) -> None:
    whole = audited(photos, tmp_path / "whole", batch=3)
    torch.manual_seed(0)
    network = limelight.Network("tiny", Interrupts().eval(), PREPROCESS, CLASSES)
    network.model.load_state_dict(tiny_network().model.state_dict())
    only_rows(network, photos, tmp_path / "plan", batch=3)  # the passes that plan are done
    Interrupts.left = batches
    try:
        with pytest.raises(KeyboardInterrupt):
            only_rows(network, photos, tmp_path / "out", batch=3)
    finally:
        Interrupts.left = math.inf
    begun = LocalFolder(tmp_path / "out").names("rows/")
    only_rows(network, photos, tmp_path / "out", batch=3)
    assert_same_rows(rows_in(tmp_path / "out"), whole)
    assert set(begun) <= set(LocalFolder(tmp_path / "out").names("rows/"))


def test_a_finished_run_runs_no_photo_again(photos: Path, tmp_path: Path) -> None:
    audited(photos, tmp_path)
    files = LocalFolder(tmp_path).names("rows/")
    seen: list[str] = []
    audited(photos, tmp_path, progress=lambda task, *_: seen.append(task))
    assert "photos" not in seen
    assert LocalFolder(tmp_path).names("rows/") == files


def test_new_and_changed_photos_are_done_and_counted_once(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    paths = write_photos(folder, 9)
    before = audited(folder, tmp_path / "out")
    write_photos(folder / "more", 2, seed=5)
    Image.new("RGB", (60, 40), "red").save(paths[0])
    after = audited(folder, tmp_path / "out")
    assert len(before) == 9
    assert len(after) == 11
    changed = list(after.photo).index(str(paths[0]))
    assert (after.width[changed], after.height[changed]) == (60, 40)
    assert len(set(after.photo)) == 11


def test_photos_that_are_gone_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    paths = write_photos(folder, 9)
    audited(folder, tmp_path / "out")
    for path in paths[:4]:
        path.unlink()
    found = only_rows(tiny_network(), folder, tmp_path / "out")
    assert found.rows.photo.tolist() == sorted(map(str, paths[4:]))
    assert found.total == 5
    assert len(rows_in(tmp_path / "out")) == 9, "their rows are kept"


def test_a_run_with_other_settings_is_refused_and_kept(photos: Path, tmp_path: Path) -> None:
    rows = audited(photos, tmp_path)
    for change in (
        {"method": "layercam"},
        {"layer": "early"},
        {"target": "label"},
        {"network": tiny_network(seed=1)},
        {"network": replace(tiny_network(), preprocess=replace(PREPROCESS, mean=(0.4,) * 3))},
    ):
        with pytest.raises(OutputError, match="other settings"):
            audited(photos, tmp_path, **change)
    assert_same_rows(rows_in(tmp_path), rows)


def test_labels_can_change_without_a_new_run(photos: Path, tmp_path: Path) -> None:
    rows = audited(photos, tmp_path)
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "photo,label\n"
        + "\n".join(f"{path},{rows.predicted[i]}" for i, path in enumerate(rows.photo))
    )
    found = limelight.audit_again(tmp_path, labels=labels, report=False)
    assert found.accuracy is not None
    assert found.accuracy.value == 1
    assert found.rows.label.tolist() == rows.predicted.tolist()


def test_matches_can_change_without_a_new_run(photos: Path, tmp_path: Path) -> None:
    rows = audited(photos, tmp_path)
    found = limelight.audit_again(
        tmp_path, matches={name: ["dog"] for name in CLASSES}, report=False
    )
    assert found.rows.label.tolist() == rows.label.tolist()
    assert found.rows.right.tolist() == [float(name == "dog") for name in rows.predicted]


def test_groups_alone_leave_the_labels_as_they_are(photos: Path, tmp_path: Path) -> None:
    labels, groups = tmp_path / "labels.csv", tmp_path / "groups.csv"
    paths = sorted(photos.rglob("*.png"))
    labels.write_text("photo,label\n" + "".join(f"{path},pig\n" for path in paths))
    groups.write_text("photo,group\n" + "".join(f"{path},{path.stem}\n" for path in paths))
    rows = audited(photos, tmp_path / "out", labels=labels)
    found = limelight.audit_again(tmp_path / "out", groups=groups, report=False)
    assert set(found.rows.label) == {"pig"}, "not the names of the folders"
    assert found.rows.right.tolist() == rows.right.tolist()
    assert found.rows.group.tolist() == [Path(path).stem for path in rows.photo]


def test_labels_can_change_where_two_classes_have_one_name(photos: Path, tmp_path: Path) -> None:
    network = Network("tiny", tiny_network().model, PREPROCESS, ("crane", "crane", "pig"))
    paths, labels = sorted(photos.rglob("*.png")), tmp_path / "labels.csv"
    labels.write_text("photo,label\n" + "".join(f"{path},0\n" for path in paths))
    only_rows(network, photos, tmp_path / "out", labels=labels)
    labels.write_text("photo,label\n" + "".join(f"{path},pig\n" for path in paths))
    found = limelight.audit_again(tmp_path / "out", labels=labels, report=False)
    assert found.rows.right.tolist() == [float(name == "pig") for name in found.rows.predicted]


def test_two_runs_on_one_folder_are_refused(photos: Path, tmp_path: Path) -> None:
    audited(photos, tmp_path)
    with LocalFolder(tmp_path).only_run(), pytest.raises(OutputError, match="another run"):
        audited(photos, tmp_path)


def test_of_many_rows_a_sample_is_read_that_does_not_depend_on_the_files(
    photos: Path, tmp_path: Path
) -> None:
    audited(photos, tmp_path)
    sample = read_rows(LocalFolder(tmp_path), 10)
    assert sample.total == 24
    assert len(sample.rows) == 10
    everything = rows_in(tmp_path)
    assert set(sample.rows.digest) == set(sorted(everything.digest)[:10])


# What is refused


def test_a_layer_given_as_a_module_goes_by_its_path(photos: Path, tmp_path: Path) -> None:
    network = tiny_network()
    rows = audited(photos, tmp_path, network=network, layer=network.model.early)
    assert set(rows.layer) == {"early"}
    assert_same_rows(rows, audited(photos, tmp_path, network=network, layer="early"))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"target": "labels"}, "'predicted' or 'label'"), ({"output": len}, "output is a function")],
    ids=["target", "output"],
)
def test_what_cannot_be_explained_is_refused(
    photos: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        audited(photos, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_unknown_engine_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="'local' or 'ray'"):
        only_rows(tiny_network(), photos, tmp_path, engine="spark")
    assert not list(tmp_path.iterdir())


def test_photos_of_which_none_can_be_read_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"nothing")
    with pytest.raises(PhotoError, match="None of the first 3 photos"):
        only_rows(tiny_network(), tmp_path, tmp_path / "out")


def test_a_folder_without_a_run_cannot_be_searched(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="There is no audit"):
        limelight.audit_again(tmp_path)


def test_boxes_and_masks_together_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Both boxes and masks"):
        only_rows(tiny_network(), photos, tmp_path / "out", boxes=photos, masks=photos)


def test_a_plan_is_of_pictures() -> None:
    network = tiny_network()
    with pytest.raises(OptionError, match="pictures"):
        LookPlan.make(network, torch.zeros(1, 3, 4, 8, 8, dtype=torch.float32, device="cpu"))


def test_a_name_that_is_no_text_is_a_photo_like_others(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    paths = write_photos(folder, 9)
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/cat/caf\xe9\n.png"))
    try:
        paths[0].rename(odd)
    except OSError:
        pytest.skip("this file system has only names that are text")
    found = pipeline.audit(tiny_network(), folder, tmp_path / "out")
    assert str(odd) in found.rows.photo
    assert not found.rows.error.any()
    seen: list[str] = []
    audited(folder, tmp_path / "out", progress=lambda task, *_: seen.append(task))
    assert "photos" not in seen, "it has its row"


@pytest.mark.parametrize("start", [0, 4], ids=["all", "metadata"])
def test_a_file_of_rows_that_is_broken_is_named(photos: Path, tmp_path: Path, start: int) -> None:
    audited(photos, tmp_path)
    (file,) = (tmp_path / "rows").glob("*.parquet")
    data = file.read_bytes()
    file.write_bytes(data[:start] + bytes(len(data) // 3 - start) + data[len(data) // 3 :])
    with pytest.raises(OptionError, match=rf"(?s){file.name}.*Delete it"):
        audited(photos, tmp_path)


def test_facts_of_another_form_are_refused(photos: Path, tmp_path: Path) -> None:
    audited(photos, tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(facts | {"preprocess": []}))
    with pytest.raises(OptionError, match=r"run\.json in the folder is not what an audit wrote"):
        audited(photos, tmp_path)


# Networks of other kinds


class OneOutput(TwoStages):
    """Says how much it is for, by one number."""

    def __init__(self) -> None:
        super().__init__(classes=1)


class Boxes(TwoStages):
    """Finds the third class in another box of each photo."""

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x) + torch.tensor([0.0, 0.0, 9.0])
        corners = 9 + 200 * logits[:, :1].abs()
        boxes = torch.cat([torch.zeros(len(x), 2), corners, torch.full((len(x), 1), 9.0)], 1)
        return limelight.Detected(logits=list(logits[:, None]), boxes=list(boxes[:, None]))


def test_one_output_is_neither_right_nor_wrong(photos: Path, tmp_path: Path) -> None:
    lines = [f"{path},{number % 2}" for number, path in enumerate(sorted(photos.rglob("*.png")))]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["photo,label", *lines]))
    network = Network("one", OneOutput().eval(), PREPROCESS, None)
    rows = audited(photos, tmp_path / "out", network=network, labels=labels)
    assert (rows.status == "ok").any()
    assert np.isnan(rows.right).all(), "label 0 is not the class of the first output"


def test_the_objects_of_a_detector_are_of_its_classes(photos: Path, tmp_path: Path) -> None:
    network = Network("boxes", Boxes().eval(), PREPROCESS, CLASSES)
    rows = audited(photos, tmp_path, network=network)
    assert set(rows.predicted) == set(rows.explained) == {"pig"}
    assert rows.right.tolist() == [float(label == "pig") for label in rows.label]


def test_without_names_classes_have_their_numbers(photos: Path, tmp_path: Path) -> None:
    network = Network("tiny", TwoStages().eval(), PREPROCESS, None)
    rows = audited(photos, tmp_path, network=network)
    assert set(rows.predicted) <= {"0", "1", "2"}
    assert rows.explained.tolist() == rows.predicted.tolist()


def test_logits_that_are_no_numbers_are_no_answer(photos: Path, tmp_path: Path) -> None:
    network = tiny_network()
    assert isinstance(network.model, TwoStages)
    with torch.no_grad():
        network.model.get_parameter("head.bias").fill_(math.nan)
    rows = audited(photos, tmp_path, network=network)
    assert set(rows.predicted) == {""}
    assert np.isnan(rows.right).all()
    assert not rows.error.any()
