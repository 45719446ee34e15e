"""From the cell to the file: the box of a photo that became the input, and maps on whole photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import limelight
from helpers.photos import load_picture
from helpers.tolerances import assert_agrees
from limelight import render
from limelight.errors import InputError
from limelight.explanation_pictures import PictureKind
from limelight.photos.crops import CroppedPhoto
from limelight.photos.pieces import pieces
from limelight.photos.preprocess import Preprocess

WIDE, HIGH, SMALL = (600, 400), (300, 500), (100, 80)

GEOMETRIES = {
    "wide": (WIDE, Preprocess()),
    "high": (HIGH, Preprocess()),
    "smaller than the crop": (SMALL, Preprocess(resize=None)),
    "border on two sides": (WIDE, Preprocess((224, 224), 160)),
    "squashed": (WIDE, Preprocess((200, 180), (200, 180))),
    "squashed and cropped": (HIGH, Preprocess((48, 48), (64, 64))),
    "whole": (SMALL, Preprocess(None, None)),
    "longest side": (WIDE, Preprocess(None, 300, longest=320)),
    "grey": (HIGH, Preprocess((96, 64), 100, (0.5,), (0.5,))),
}

geometries = pytest.mark.parametrize(
    ("size", "preprocess"), GEOMETRIES.values(), ids=GEOMETRIES.keys()
)


def photo_of(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A photo of a width and height with structure at every scale."""
    rng = np.random.default_rng(seed)
    layers = []
    for cells in (3, 7, 15, 40):
        grid = Image.fromarray(rng.integers(0, 255, (cells, cells, 3), dtype=np.uint8))
        layers.append(np.asarray(grid.resize(size, Image.Resampling.BICUBIC), float))
    return Image.fromarray(np.mean(layers, 0).astype(np.uint8))


def small_network(preprocess: Preprocess) -> limelight.Network:
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(len(preprocess.mean), 6, 9, stride=8, padding=4),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(6, 3),
    )
    return limelight.Network("small", model.eval(), preprocess, ("ant", "bee", "cat"))


def explained(size: tuple[int, int], preprocess: Preprocess) -> limelight.Explanation:
    return limelight.explain(small_network(preprocess), photo_of(size), target=0, layer="0")


# ---- the box ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "preprocess", "box"),
    [
        # Resized to 384 x 256, by 1.5625; the crop begins at (80, 16).
        (WIDE, Preprocess(), (125, 25, 475, 375)),
        # Resized to 256 x 426; the crop begins at (16, 101).
        (HIGH, Preprocess(), (18.75, 101 * 500 / 426, 281.25, 325 * 500 / 426)),
        # A border of 62 pixels on the left and right, of 72 above and below.
        (SMALL, Preprocess(resize=None), (-62, -72, 162, 152)),
        # Resized to 64 x 64; the crop begins at (8, 8).
        ((200, 100), Preprocess((48, 48), (64, 64)), (25, 12.5, 175, 87.5)),
        (SMALL, Preprocess(None, 40), (0, 0, 100, 80)),
    ],
)
def test_the_box_is_the_one_by_hand(
    size: tuple[int, int], preprocess: Preprocess, box: tuple[float, ...]
) -> None:
    crop = preprocess.crop(photo_of(size))
    assert crop.box == pytest.approx(box)
    assert crop.photo.size == size
    whole = tuple(round(edge) for edge in box)
    assert crop.view_box == whole
    assert crop.view().size == (whole[2] - whole[0], whole[3] - whole[1])


@geometries
@pytest.mark.parametrize("at", [(0.5, 0.5), (0.4, 0.6), (0.62, 0.38)])
def test_a_dot_in_the_photo_lands_where_the_box_says(
    size: tuple[int, int], preprocess: Preprocess, at: tuple[float, float]
) -> None:
    x, y = (round(share * n) for share, n in zip(at, size, strict=True))
    dotted = Image.new("RGB", size)
    dotted.paste("white", (x - 4, y - 4, x + 4, y + 4))
    input_ = preprocess(dotted)
    light = (input_ - input_.amin((1, 2), keepdim=True)).sum(0).double()
    rows, columns = (torch.arange(n) + 0.5 for n in light.shape)
    found = (light.sum(0) @ columns.double(), light.sum(1) @ rows.double())
    left, top, right, bottom = preprocess.crop_box(dotted)
    expected = (
        (x - left) / (right - left) * light.shape[1],
        (y - top) / (bottom - top) * light.shape[0],
    )
    for where, should in zip(found, expected, strict=True):
        assert float(where / light.sum()) == pytest.approx(should, abs=0.05)


# ---- arrays ----------------------------------------------------------------------------------


@geometries
def test_the_heat_of_the_whole_photo_is_that_of_the_seen_part_in_its_place(
    size: tuple[int, int], preprocess: Preprocess
) -> None:
    result = explained(size, preprocess)
    ((heatmap, seen),) = result.photo_heatmaps()
    assert heatmap.shape == seen.shape == size[::-1]
    assert result.crops is not None
    left, top, right, bottom = result.crops[0].view_box
    (of_view,) = result.heatmap_at((bottom - top, right - left))
    on_canvas = torch.full((size[1] + 400, size[0] + 400), -1.0)  # with 200 pixels on each side
    on_canvas[200 + top : 200 + bottom, 200 + left : 200 + right] = of_view
    by_hand = on_canvas[200:-200, 200:-200]
    assert torch.equal(seen, by_hand >= 0)
    assert torch.equal(heatmap, by_hand.clamp(min=0))


def test_photos_of_different_sizes_are_one_batch() -> None:
    photos = [photo_of(WIDE), photo_of(HIGH, 1), photo_of(SMALL, 2)]
    result = limelight.explain(small_network(Preprocess()), photos, target=0, layer="0")
    assert [each.heatmap.shape for each in result.photo_heatmaps()] == [
        (400, 600),
        (500, 300),
        (80, 100),
    ]
    assert [drawn.size for drawn in result.overlay(whole=True)] == [WIDE, HIGH, SMALL]
    assert len(result.figure(whole=True).axes) == 3 * 3 + 1
    (last,) = result[2].photo_heatmaps()
    assert torch.equal(last.heatmap, result.photo_heatmaps()[2].heatmap)


def test_the_arrays_of_whole_photos_are_saved(tmp_path: Path) -> None:
    photos = [photo_of(WIDE), photo_of(HIGH, 1)]
    result = limelight.explain(small_network(Preprocess()), photos, target=0, layer="0")
    found = np.load(result.save(tmp_path / "maps.npz", whole=True))
    for number, (heatmap, seen) in enumerate(result.photo_heatmaps()):
        assert np.array_equal(found[f"photo_heatmap_{number}"], heatmap.numpy())
        assert np.array_equal(found[f"photo_seen_{number}"], seen.numpy())
    assert np.array_equal(found["heatmap"], result.heatmap.numpy())
    assert not [name for name in np.load(result.save(tmp_path / "x.npz")) if "photo" in name]


@pytest.mark.parametrize("dog", ["bull mastiff", "boxer"])
def test_heat_lies_on_the_animal_in_a_photo_three_times_as_wide(shared: Path, dog: str) -> None:
    """The preprocessing crops the animals out of the canvas: their heat goes back to them."""
    both = load_picture(shared / "photos" / "both.png")
    canvas = Image.new("RGB", (3 * both.width, both.height), (120, 140, 110))
    canvas.paste(both, (both.width, 0))
    network = limelight.load_model()
    results = limelight.explain_each(network, canvas, ["tiger cat", dog])
    alone = limelight.explain_each(network, both, ["tiger cat", dog])
    middle, half = slice(both.width, 2 * both.width), both.height // 2
    for result, by_itself, lower in zip(results, alone, (True, False), strict=True):
        ((heat, seen),) = result.photo_heatmaps()
        assert heat.shape == seen.shape == (both.height, 3 * both.width)
        assert not heat[:, : both.width].any()
        assert not heat[:, 2 * both.width :].any()
        assert not seen[:, : both.width].any()
        # The dog sits in the upper half of the photo, the cat lies in the lower.
        rows = slice(half, None) if lower else slice(half)
        assert heat[rows].sum() / heat.sum() > 0.7
        ((heat_alone, _),) = by_itself.photo_heatmaps()
        assert_agrees(heat[:, middle], heat_alone, terms=4096)


# ---- pictures --------------------------------------------------------------------------------


def test_what_was_not_seen_is_pale_grey_and_what_was_is_drawn_as_before() -> None:
    result = explained(WIDE, Preprocess())
    (whole,), (part,) = result.overlay(whole=True, alpha=0.5), result.overlay(alpha=0.5)
    assert whole.size == WIDE
    assert whole.crop((125, 25, 475, 375)).tobytes() == part.tobytes()
    pixels = np.asarray(whole, int)
    beside = np.concatenate([pixels[:, :120], pixels[:, 480:]], 1)
    assert np.array_equal(beside[..., 0], beside[..., 1])  # no colour map without greys is so
    assert np.array_equal(beside[..., 0], beside[..., 2])
    assert beside.min() > 0.25 * 255  # the stripes; black is what was seen and has no heat
    assert np.median(beside) > 0.45 * 255


def test_the_brightness_of_an_overlay_is_that_of_the_seen_part() -> None:
    photo, part, nothing = (
        Image.new("RGB", (80, 40), "white"),
        photo_of((40, 40)),
        torch.zeros(40, 40),
    )
    part = part.point(lambda value: value // 3)
    photo.paste(part, (20, 0))
    on_whole = render.overlay(photo, render.HeatOnPhoto(nothing, (20, 0, 60, 40), (40, 80)))
    seen = on_whole.crop((20, 0, 60, 40))
    assert seen.tobytes() == render.overlay(part, nothing).tobytes()


def test_no_heat_and_not_seen_look_different() -> None:
    hot_below = torch.zeros(40, 40)
    hot_below[-1] = 1
    heat = render.HeatOnPhoto(hot_below, (20, 0, 60, 40), (40, 80))
    for drawn in (
        render.overlay(Image.new("RGB", (80, 40)), heat),
        render.overlay(Image.new("RGB", (80, 40)), heat, alpha=0.5),
        render.colourise(heat),
    ):
        pixels = np.asarray(drawn, int)
        assert pixels[:39, 20:60].max() <= 4  # the darkest colour
        assert pixels[:, :17].min() > 70
        assert pixels[:, 63:].min() > 70
        assert pixels[20, 19].tolist() == [255] * 3  # the frame, white beside black
        assert pixels[20, 18].tolist() == [0] * 3


def test_a_photo_that_was_seen_as_a_whole_has_no_frame() -> None:
    result = explained(SMALL, Preprocess(None, None))
    assert result.overlay(whole=True)[0].tobytes() == result.overlay()[0].tobytes()
    titles = [axes.get_title() for axes in result.figure(whole=True).axes]
    assert titles == [axes.get_title() for axes in result.figure().axes]


def test_the_figure_says_that_the_frame_is_what_was_seen() -> None:
    result = explained(WIDE, Preprocess())
    assert result.figure(whole=True).axes[0].get_title() == "photo, seen in the frame"
    assert result.figure().axes[0].get_title() == "photo"
    with_border = explained(SMALL, Preprocess(resize=None))
    assert with_border.figure(whole=True).axes[0].get_title() == "photo"


@pytest.mark.parametrize("alpha", [None, 0.4])
def test_a_large_whole_photo_looks_as_a_small_one_does(
    monkeypatch: pytest.MonkeyPatch, alpha: float | None
) -> None:
    for size, preprocess in (GEOMETRIES["high"], GEOMETRIES["smaller than the crop"]):
        result = explained(size, preprocess)
        at_once = np.asarray(result.overlay(whole=True, alpha=alpha)[0], int)
        ((heatmap, _),) = result.photo_heatmaps()
        with monkeypatch.context() as patch:
            patch.setattr("limelight.drawing._MAX_WHOLE_PIXELS", 0)
            patch.setattr("limelight.photos.pieces.pieces.__defaults__", (1000,))
            in_pieces = np.asarray(result.overlay(whole=True, alpha=alpha)[0], int)
            ((heat_in_pieces, _),) = result.photo_heatmaps()
        assert (in_pieces == at_once).mean() > 0.99
        assert np.abs(in_pieces - at_once).max() <= 4
        assert (heat_in_pieces - heatmap).abs().max() < 2e-5


def test_the_region_of_a_score_is_outlined_in_its_place() -> None:
    result = explained(WIDE, Preprocess())
    region = torch.zeros(1, 224, 224, dtype=torch.bool)
    region[0, 56:112, 112:168] = True
    panel = replace(result, region=region).figure(whole=True).axes[0]
    outline = panel.collections[0].get_paths()[0].get_extents()
    # Of the box (125, 25, 475, 375): its rows from 1/4 to 1/2, its columns from 1/2 to 3/4.
    expected = (125 + 350 / 2, 25 + 350 / 4, 125 + 350 * 3 / 4, 25 + 350 / 2)
    assert outline.extents == pytest.approx(expected, abs=1.5)


def test_overlays_outline_the_region_in_its_place() -> None:
    """On the part that was seen, and on the whole of an oblong photo; nothing else changes."""
    result = explained(WIDE, Preprocess())
    region = torch.zeros(1, 224, 224, dtype=torch.bool)
    region[0, 56:112, 112:168] = True
    outlined = replace(result, region=region)
    # Of the box (125, 25, 475, 375): its rows from 1/4 to 1/2, its columns from 1/2 to 3/4.
    for whole, left, top, line in ((True, 125, 25, 3), (False, 0, 0, 1)):
        (plain,), (drawn,) = result.overlay(whole=whole), outlined.overlay(whole=whole)
        changed = (np.asarray(plain, int) != np.asarray(drawn, int)).any(-1)
        light = (np.asarray(drawn) == (127, 255, 0)).all(-1)
        rows, columns = np.nonzero(light)
        expected = (top + 350 / 4, top + 350 / 2 - 1, left + 350 / 2, left + 350 * 3 / 4 - 1)
        found = (rows.min(), rows.max(), columns.min(), columns.max())
        assert found == pytest.approx(expected, abs=1)
        x1, x2, y1, y2 = columns.min(), columns.max(), rows.min(), rows.max()
        assert light[y1 : y1 + line, x1 : x2 + 1].all()
        assert light[y1 : y2 + 1, x1 : x1 + line].all()
        # What lies inside the line, and around it, keeps its colours.
        assert not changed[y1 + line : y2 + 1 - line, x1 + line : x2 + 1 - line].any()
        around = np.ones_like(changed)
        around[y1 - line : y2 + 1 + line, x1 - line : x2 + 1 + line] = False
        assert not (changed & around).any()
        assert np.asarray(drawn)[y1 - 1, x1].tolist() == [0, 0, 0]


def test_saved_overlays_and_blends_are_outlined_and_heatmaps_are_not(tmp_path: Path) -> None:
    result = explained(WIDE, Preprocess())
    region = torch.zeros(1, 224, 224, dtype=torch.bool)
    region[0, 56:112, 112:168] = True
    outlined = replace(result, region=region)
    kinds: tuple[tuple[PictureKind, bool], ...] = (
        ("overlay", True),
        ("blend", True),
        ("heatmap", False),
    )
    for picture, lined in kinds:
        plain, drawn = (
            np.asarray(Image.open(each.save(tmp_path / "x.png", whole=True, picture=picture)))
            for each in (result, outlined)
        )
        assert (not np.array_equal(plain, drawn)) == lined
    # A region of all pixels is no region.
    everywhere = replace(result, region=torch.ones_like(region))
    assert everywhere.overlay()[0].tobytes() == result.overlay()[0].tobytes()


def test_an_outline_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a line of several pixels that crosses from piece to piece, and along the edge."""
    region = torch.zeros(30, 40)
    region[:12, 5:22], region[20, 33] = 1, 1
    at_size = render.region_on(region, torch.zeros(900, 1200))
    assert at_size is not None
    at_once = np.asarray(render.outlined(Image.new("RGB", (1200, 900), "blue"), at_size))
    for most in (1000, 5000):
        monkeypatch.setattr(
            "limelight.render.outlines.pieces",
            lambda wide, high, most=most: pieces(wide, high, most),
        )
        in_pieces = render.outlined(Image.new("RGB", (1200, 900), "blue"), at_size)
        assert np.array_equal(np.asarray(in_pieces), at_once)
    light, dark = ((at_once == colour).all(-1) for colour in ((127, 255, 0), (0, 0, 0)))
    inside = region.bool().repeat_interleave(30, 0).repeat_interleave(30, 1).numpy()
    assert not (light & ~inside).any()
    assert not (dark & inside).any()
    assert light[:6, 150:660].all()  # along the edge of the picture, six pixels wide
    assert not light[6, 156:654].any()


def test_a_grey_photo_is_drawn_grey() -> None:
    grey = photo_of(WIDE).convert("L")
    for preprocess in (Preprocess(), Preprocess((64, 64), 72, (0.5,), (0.5,))):
        result = limelight.explain(small_network(preprocess), grey, target=0, layer="0")
        for whole in (False, True):
            shown = np.asarray(result.figure(whole=whole).axes[0].images[0].get_array())
            assert shown.ndim == 3  # a table of numbers would be drawn in colours
            assert np.array_equal(shown[..., 0], shown[..., 2])


def test_sheets_are_drawn_on_whole_photos() -> None:
    network, photo = small_network(Preprocess()), photo_of(WIDE)
    compared = limelight.compare(network, photo, methods=["gradcam", "layercam"], targets=[0])
    checked = limelight.sanity(network, photo, methods="gradcam", target=0, steps=2)
    for drawn in (compared, checked):
        for whole, shape in ((True, (400, 600)), (False, (350, 350))):
            shown = [axes.images[0] for axes in drawn.figure(whole=whole).axes if axes.images]
            assert {np.asarray(image.get_array()).shape[:2] for image in shown} == {shape}


# ---- photos that are given -------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 0.5])
def test_a_whole_photo_that_is_given_is_drawn_as_one_and_a_part_as_a_part(scale: float) -> None:
    for size in (WIDE, HIGH, (400, 400)):  # of the last, the part has the whole's proportions
        result = explained(size, Preprocess())
        assert result.crops is not None
        (crop,) = result.crops
        view = crop.view()
        whole, part = (
            photo.resize((round(photo.width * scale), round(photo.height * scale)))
            for photo in (crop.photo, view)
        )
        (drawn,), (on_part,) = result.overlay([whole]), result.overlay([part])
        assert drawn.size == whole.size
        assert on_part.size == part.size
        for picture, seen in ((drawn, False), (on_part, True)):
            highest_rows = np.asarray(picture)[:4].reshape(-1, 3)
            assert np.array_equal(highest_rows[:, 0], highest_rows[:, 1]) != seen  # grey if not
        if scale == 1:
            assert drawn.tobytes() == result.overlay(whole=True)[0].tobytes()
            assert on_part.tobytes() == result.overlay()[0].tobytes()


def test_a_photo_without_structure_is_what_its_size_says() -> None:
    result = explained((400, 400), Preprocess())
    for size, whole in ((400, True), (350, False)):
        (drawn,) = result.overlay([Image.new("RGB", (size, size), "red")], alpha=0)
        assert (drawn.getpixel((3, 200)) == (255, 0, 0)) != whole


def test_a_photo_of_other_proportions_is_refused() -> None:
    result = explained(WIDE, Preprocess())
    with pytest.raises(InputError) as caught:
        result.figure([photo_of((500, 100))])
    assert str(caught.value) == (
        "Photo 0 is 500 x 100 pixels; the whole photo that was explained, 600 x 400, or the part "
        "of it that the network saw, 350 x 350, was expected, or the same at another size. Leave "
        "the photos out: what was explained is drawn on."
    )
    (part,) = result.photos or ()
    with pytest.raises(InputError, match=r"is 350 x 350 pixels; the whole .*, 600 x 400, was exp"):
        result.overlay([part], whole=True)


def test_the_whole_photo_for_a_map_of_its_crop_is_refused(tmp_path: Path) -> None:
    network, photo = small_network(Preprocess()), photo_of(WIDE)
    result = limelight.explain(network.model, network.images(photo), target=0, layer="0")
    with pytest.raises(InputError) as caught:
        result.save(tmp_path / "x.png", photos=[photo])
    value = str(caught.value).partition("likeness is ")[2].partition(",")[0]
    assert float(value) < 0.5
    assert str(caught.value) == (
        f"Photo 0 does not show what the network was given: their likeness is {value}, and at "
        "least 0.7 was expected, so the map would not lie where the network looked. Pass a Network "
        "and the photo, explain(network, photo); or draw on the part that the network saw, "
        "network.preprocess.view(photo)."
    )
    assert list(tmp_path.iterdir()) == []
    view = network.preprocess.view(photo)
    for right in (view, view.convert("L"), view.resize((90, 90)), view.resize((100, 50))):
        assert result.overlay([right])[0].size == right.size


def test_photos_in_the_wrong_order_are_refused() -> None:
    photos = [photo_of(WIDE), photo_of(WIDE, 1)]
    result = limelight.explain(small_network(Preprocess()), photos, target=0, layer="0")
    assert len(result.overlay(photos)) == 2
    with pytest.raises(InputError, match=r"Photo 0 does not show .*\. Leave the photos out: what"):
        result.overlay(photos[::-1])


def test_what_cannot_be_compared_is_drawn_on() -> None:
    red = Image.new("RGB", (30, 20), "red")
    for channels in (1, 2, 3, 4):
        model = torch.nn.Sequential(
            torch.nn.Conv2d(channels, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
        images = torch.randn(1, channels, 24, 24)
        result = limelight.explain(model, images, target=0, layer="0")
        result.overlay([red])  # no structure
        if channels in (1, 3):
            with pytest.raises(InputError, match="does not show what the network was given"):
                result.overlay([photo_of((24, 24))])
        else:
            result.overlay([photo_of((24, 24))])
        blank = limelight.explain(model, torch.ones(1, channels, 24, 24), target=0, layer="0")
        blank.overlay([photo_of((24, 24))])


def test_a_photo_is_told_from_other_photos(shared: Path) -> None:
    """What `LEAST_LIKENESS` was chosen by, on a few of the photos."""
    from limelight.photos.likeness import LEAST_LIKENESS, likeness

    names = ("bird", "cat", "chickadee", "dog_cat", "dragonfly", "owl", "parrot", "sunflower")
    photos = [load_picture(shared / "photos" / f"{name}.jpg") for name in names]
    for preprocess in (
        Preprocess(),
        Preprocess((64, 64), 72, (0.5,), (0.5,)),
        Preprocess((96, 96), 110),
    ):
        images = [preprocess(photo) for photo in photos]
        for number, (photo, image) in enumerate(zip(photos, images, strict=True)):
            crop = preprocess.crop(photo)
            view = crop.view()
            smaller = view.resize((view.width // 3, view.height // 3), Image.Resampling.NEAREST)
            for right in (crop, *map(CroppedPhoto.uncropped, (view, view.convert("L"), smaller))):
                found = likeness(right, image)
                assert found is not None
                assert found > 0.85
            for wrong in (photo, preprocess.view(photos[number - 1]), view.rotate(180)):
                found = likeness(CroppedPhoto.uncropped(wrong), image)
                assert found is not None
                assert found < LEAST_LIKENESS


def test_whole_photos_that_are_not_known_are_refused(tmp_path: Path) -> None:
    network = small_network(Preprocess())
    result = limelight.explain(network, network.images(photo_of(WIDE)), target=0, layer="0")
    for ask in (
        lambda: result.overlay(whole=True),
        lambda: result.figure(whole=True),
        lambda: result.overlay([photo_of(WIDE)], whole=True),
        lambda: result.save(tmp_path / "x.npz", whole=True),
        result.photo_heatmaps,
    ):
        with pytest.raises(InputError) as caught:
            ask()
        assert str(caught.value) == (
            "whole=True draws on the whole photo, and the maps were made from a tensor, whose "
            "photo is not known. Pass a Network and the photo: explain(network, photo)."
        )
    signal = torch.nn.Sequential(
        torch.nn.Conv1d(1, 4, 3), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten()
    )
    drawn = limelight.explain(signal, torch.randn(1, 1, 50), target=0, layer="0")
    with pytest.raises(InputError, match=r"photos go with pictures \[B, C, H, W\]"):
        drawn.figure(whole=True)


def test_a_walkthrough_refuses_a_photo_that_is_not_the_networks() -> None:
    network, photo = small_network(Preprocess()), photo_of(WIDE)
    with pytest.raises(InputError, match="Photo 0 does not show what the network was given"):
        limelight.walkthrough(network.model, network.images(photo), photo=photo, layer="0")
    page = limelight.walkthrough(network, photo, photo=photo, layer="0")
    assert page.photo == network.preprocess.view(photo)
