"""Where cells lie, read from moments made by hand, and carried along operations made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from limelight.finish import AxisSpan
from limelight.layers import KnownGrid, Layout, Moments, Track, measured_span, read_places
from limelight.layers.tracks import (
    IMAGE,
    Anchor,
    Cropped,
    Joined,
    Operation,
    Permuted,
    Resized,
    TrackedGrid,
    Windows,
    applied,
    follow,
    tracked,
)

GRID = (4, 6)
CELLS = 24
#: What looks everywhere: the middle, with the spread of a uniform distribution.
EVERYWHERE = (0.5, 0.289)


def centres(*grid: int) -> Tensor:
    """The centre of each cell of a grid over the whole picture, `[A, *grid]`."""
    along = [(torch.arange(cells, dtype=torch.float64) + 0.5) / cells for cells in grid]
    return torch.stack(torch.meshgrid(*along, indexing="ij"))


def moments(centre: Tensor, spread: Tensor | float, channels: int = 8, at: int = 1) -> Moments:
    """The moments of an output whose positions look there, with channels at an axis.

    The `centre` is `[A, *positions]`, and the output `[1, *positions]` with the channels' axis.
    """
    draw = torch.Generator().manual_seed(0)
    spread = torch.as_tensor(spread, dtype=torch.float64).expand_as(centre)
    shape = [1, *centre.shape[1:]]
    shape.insert(at, channels)
    energy = 0.5 + torch.rand(shape, generator=draw, dtype=torch.float64)
    first, second = (each.unsqueeze(1).unsqueeze(1 + at) for each in (centre, centre**2))
    return Moments(
        energy, energy * first, energy * (second + (spread**2)[:, None].unsqueeze(1 + at))
    )


def tokens(*parts: Tensor, spread: float = 0.05) -> Moments:
    """The moments of tokens `[1, N, K]`, of which those in the middle look everywhere."""
    centre = torch.cat(parts, dim=1)
    wide = (centre == EVERYWHERE[0]).all(0)
    return moments(centre, torch.where(wide, EVERYWHERE[1], spread), at=2)


def placeless(count: int) -> Tensor:
    return torch.full((2, count), EVERYWHERE[0], dtype=torch.float64)


def patches() -> Tensor:
    return centres(*GRID).flatten(1)


def read(measured: Moments, *known: tuple[int, ...]) -> Layout:
    layout = read_places(measured, [KnownGrid(grid) for grid in known])
    assert isinstance(layout, Layout), layout
    return layout


def refusal(measured: Moments, *known: tuple[int, ...]) -> str:
    reason = read_places(measured, [KnownGrid(grid) for grid in known])
    assert isinstance(reason, str), reason
    return reason


# Axes


@pytest.mark.parametrize(
    ("at", "kind"), [(1, "channels first"), (3, "channels last"), (2, "channels last")]
)
def test_channels_are_the_axis_along_which_places_do_not_change(at: int, kind: str) -> None:
    layout = read(moments(centres(*GRID), 0.1, at=at))
    assert (layout.kind, layout.grid) == (kind, GRID)
    assert layout.axis_of_channels % 4 == at
    assert not layout.order


def test_a_grid_in_one_dimension_over_a_picture_is_pooled_along_the_other_axis() -> None:
    centre = torch.stack([torch.full((32,), 0.5, dtype=torch.float64), centres(32)[0]])
    assert read(moments(centre, 0.1, channels=256)).grid == (1, 32)


def test_axes_that_are_swapped_and_turned_are_put_back() -> None:
    turned = centres(*GRID).transpose(1, 2).flip(2)
    layout = read(moments(turned, 0.1))
    assert layout.grid == GRID
    positions = torch.arange(CELLS).reshape(1, 1, 6, 4)
    expected = positions.flip(3).transpose(2, 3)
    assert torch.equal(layout.to_grid(positions), expected)


def test_places_that_are_drawn_to_the_middle_keep_their_order() -> None:
    drawn = 0.5 + 0.1 * (centres(*GRID) - 0.5)
    assert read(moments(drawn, 0.27)).grid == GRID


def test_pictures_one_by_one_are_frames() -> None:
    centre = centres(3, *GRID)
    measured = moments(centre, 0.05, at=2)
    first, second = (part.squeeze(1) for part in (measured.first, measured.second))
    layout = read(Moments(measured.energy[0], first, second))
    assert (layout.kind, layout.grid) == ("frames", (3, *GRID))


# Tokens


@pytest.mark.parametrize("front", [0, 1, 5, 50])
@pytest.mark.parametrize("behind", [0, 10])
def test_tokens_that_look_everywhere_have_no_cell(front: int, behind: int) -> None:
    layout = read(tokens(placeless(front), patches(), placeless(behind)), GRID)
    assert (layout.kind, layout.grid, layout.prefix) == ("tokens", GRID, front)
    assert not layout.order


def test_a_class_token_in_the_middle_is_left_out() -> None:
    both = patches().chunk(2, dim=1)
    layout = read(tokens(both[0], placeless(1), both[1]))
    assert layout.order == (*range(12), *range(13, 25))


def test_the_grid_is_found_without_a_hint() -> None:
    assert read(tokens(placeless(1), patches())).grid == GRID


def test_tokens_column_by_column() -> None:
    layout = read(tokens(centres(*GRID).transpose(1, 2).flatten(1)))
    assert layout.grid == GRID
    assert layout.order == tuple(torch.arange(CELLS).reshape(6, 4).T.flatten().tolist())


def test_sharp_tokens_that_are_shuffled_and_dropped_are_laid_one_by_one() -> None:
    kept = torch.randperm(CELLS, generator=torch.Generator().manual_seed(0))[:12]
    layout = read(tokens(patches()[:, kept]), GRID)
    expected = [-1] * CELLS
    for position, cell in enumerate(kept.tolist()):
        expected[cell] = position
    assert layout.order == tuple(expected)


def test_blurred_tokens_that_are_shuffled_have_no_cells() -> None:
    order = torch.randperm(CELLS, generator=torch.Generator().manual_seed(0))
    middle = 0.5 + 0.2 * (patches()[:, order] - 0.5)
    reason = refusal(tokens(middle, spread=0.25), GRID)
    assert reason.startswith("its 24 positions have no place on a grid over the picture: along y ")


@pytest.mark.parametrize("strided", [False, True])
def test_windows_are_put_together(strided: bool) -> None:
    windows = centres(14, 21).reshape(2, 2, 7, 3, 7)
    if strided:
        windows = centres(14, 21).reshape(2, 7, 2, 7, 3)
        windows = windows.permute(0, 2, 4, 1, 3).reshape(2, 6, 49)
    else:
        windows = windows.permute(0, 1, 3, 2, 4).reshape(2, 6, 49)
    layout = read(moments(windows, 0.03, at=3))
    assert layout.grid == (14, 21)
    assert (
        layout.to_grid(windows[:1, None].movedim(1, -1)) - centres(14, 21)[0]
    ).abs().max() < 1e-9


@pytest.mark.parametrize(("count", "side"), [(2, 7), (3, 7), (9, 7), (3, 2)])
def test_windows_in_a_row_are_put_together(count: int, side: int) -> None:
    # Columns go along the windows, and rows along the positions in them, though not alone.
    row = centres(side, count * side)
    windows = row.reshape(2, side, count, side).permute(0, 2, 1, 3).reshape(2, count, side**2)
    layout = read(moments(windows, 0.03, at=3))
    assert layout.grid == (side, count * side)
    assert torch.equal(layout.to_grid(windows[:1, None].movedim(1, -1))[0, 0], row[0])


def test_columns_of_their_own_are_no_windows() -> None:
    columns = centres(12, 16).transpose(1, 2)  # as attention along each column takes them
    layout = read(moments(columns, 0.03, at=3))
    assert (layout.kind, layout.grid) == ("channels last", (12, 16))


def test_windows_on_top_of_each_other_are_put_together() -> None:
    windows = centres(21, 7).reshape(2, 3, 49)
    assert read(moments(windows, 0.03, at=3)).grid == (21, 7)


# No places


def test_queries_have_no_place() -> None:
    reason = refusal(tokens(placeless(100)), (10, 10))
    assert reason == (
        "its positions have no place of their own: along y they look at 0.50 to 0.50 of the "
        "picture, each with a spread of 0.29; along x they look at 0.50 to 0.50 of the picture, "
        "each with a spread of 0.29 (what looks everywhere has 0.29)"
    )


def test_a_refusal_counts_queries_and_not_their_channels() -> None:
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    middle = 0.5 + 0.2 * (centres(4, 8).flatten(1)[:, order] - 0.5)
    reason = refusal(moments(middle, 0.25, channels=100), (4, 8))
    assert reason.startswith("its 100 positions have no place on a grid over the picture: along y ")


def test_what_the_picture_does_not_change_has_no_place() -> None:
    nothing = torch.zeros(1, 8, 4, 6)
    measured = Moments(
        nothing, nothing.expand(2, *nothing.shape), nothing.expand(2, *nothing.shape)
    )
    assert refusal(measured) == "nothing in the picture changes it"


def test_a_single_position_is_no_grid() -> None:
    assert refusal(moments(centres(1, 1), 0.28)) == "it has a single position"


# Spans


def test_the_span_of_sharp_cells_is_the_line_of_their_centres() -> None:
    inside = 0.25 + 0.5 * centres(8, 8)
    measured = moments(inside, 0.03)
    span = measured_span(measured, Layout("channels first", (8, 8)))
    assert span is not None
    for axis in span:
        assert (axis.start, axis.end) == pytest.approx((0.25, 0.75))
        assert (axis.seen_from, axis.seen_to) == pytest.approx((0.25, 0.75))


def test_the_span_of_blurred_cells_is_unknown() -> None:
    assert measured_span(moments(centres(8, 8), 0.2), Layout("channels first", (8, 8))) is None


# Tracks


def after(step: Operation, shape: Sequence[int], layout: Layout) -> Layout | None:
    found = applied(step, tracked(layout), tuple(shape))
    return None if found is None else found.finished()


def ends(layout: Layout | None) -> list[tuple[float, float]]:
    assert layout is not None
    return [(axis.start, axis.end) for axis in layout.span]


PICTURE = Layout("channels first", (32, 48))


@pytest.mark.parametrize(
    ("extent", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (7, 2, 3), (3, 1, 1)]
)
def test_usual_windows_cover_the_picture(extent: int, stride: int, padding: int) -> None:
    shape = 1, 8, 32 // stride, 48 // stride
    layout = after(Windows((extent,) * 2, (stride,) * 2, (padding,) * 2), shape, PICTURE)
    assert layout == Layout("channels first", shape[2:])


def test_windows_without_padding_end_inside() -> None:
    layout = after(Windows((9, 9), (1, 1), (0, 0)), (1, 8, 24, 40), PICTURE)
    assert ends(layout) == [(4 / 32, 28 / 32), (4 / 48, 44 / 48)]


def test_windows_side_by_side_that_leave_a_rest_end_before_it() -> None:
    layout = after(Windows((14, 14), (14, 14), (0, 0)), (1, 8, 2, 3), PICTURE)
    assert ends(layout) == [(0.0, 28 / 32), (0.0, 42 / 48)]


def test_rows_that_differ_less_than_the_cells_in_them_are_no_axis() -> None:
    y, x = centres(*GRID)
    sideways = torch.where(x * 6 % 2 < 1, 0.3, -0.3)  # every other column looks up, the others down
    y = 0.5 + 0.1 * (y - 0.5) + sideways
    assert "have no place on a grid" in refusal(moments(torch.stack([y, x]), 0.05))


def test_transposed_windows_make_cells_smaller() -> None:
    layout = after(Windows((2, 2), (2, 2), (0, 0), transposed=True), (1, 8, 64, 96), PICTURE)
    assert layout == Layout("channels first", (64, 96))


def test_a_crop_is_seen_alone() -> None:
    layout = after(Cropped(((2, (8, 8)), (3, (0, 12)))), (1, 3, 16, 36), PICTURE)
    assert layout is not None
    assert layout.span == (AxisSpan(0.25, 0.75, 0.25, 0.75), AxisSpan(0.0, 0.75, 0.0, 0.75))


def test_a_padding_reaches_past_the_picture_and_sees_all_of_it() -> None:
    layout = after(Cropped(((2, (-8, -8)),)), (1, 3, 48, 48), PICTURE)
    assert layout is not None
    assert layout.span == (AxisSpan(-0.25, 1.25), AxisSpan(0.0, 1.0))


def test_a_crop_of_channels_moves_nothing() -> None:
    assert after(Cropped(((1, (0, 2)),)), (1, 1, 32, 48), PICTURE) == PICTURE


def test_of_a_crop_the_content_is_what_is_left() -> None:
    cropped = applied(Cropped(((2, (8, 8)),)), tracked(PICTURE), (1, 3, 16, 48))
    assert cropped is not None
    assert cropped.content == ((0.25, 0.75), (0.0, 1.0))


def test_a_crop_of_a_crop() -> None:
    grid: TrackedGrid | None = tracked(PICTURE)
    for rows in (24, 16):
        assert grid is not None
        grid = applied(Cropped(((2, (4, 4)),)), grid, (1, 3, rows, 48))
    assert grid is not None
    assert grid.finished().span[0] == AxisSpan(0.25, 0.75, 0.25, 0.75)


def test_an_interpolation_keeps_the_span() -> None:
    layout = after(Resized(), (1, 3, 8, 8), PICTURE)
    assert layout == Layout("channels first", (8, 8))


def test_a_permutation_moves_the_channels() -> None:
    last = after(Permuted((0, 2, 3, 1)), (1, 32, 48, 3), PICTURE)
    assert last == Layout("channels last", (32, 48))
    assert after(Permuted((0, 3, 1, 2)), (1, 3, 32, 48), last) == PICTURE


def test_a_permutation_that_moves_nothing_leaves_frames_as_they_are() -> None:
    frames = Layout("frames", (4, 32, 48))
    assert after(Permuted((0, 1, 2, 3)), (4, 3, 32, 48), frames) == frames


def test_a_permutation_of_cells_has_no_rule() -> None:
    assert after(Permuted((0, 1, 3, 2)), (1, 3, 48, 32), PICTURE) is None


def test_channels_are_joined_and_cells_are_not() -> None:
    assert after(Joined(1), (1, 6, 32, 48), PICTURE) == PICTURE
    assert after(Joined(-3), (1, 6, 32, 48), PICTURE) == PICTURE
    assert after(Joined(2), (1, 3, 64, 48), PICTURE) is None


def test_windows_over_tokens_have_no_rule() -> None:
    row = Layout("tokens", GRID)
    assert after(Windows((3,), (1,), (1,)), (1, 24, 8), row) is None


def test_a_track_ends_where_a_rule_does() -> None:
    track = Track.of_image((1, 3, 32, 48))
    assert track.anchor == IMAGE
    halved = track.after(Windows((2, 2), (2, 2), (0, 0)), (1, 8, 16, 24))
    assert halved is not None
    assert halved.layout == Layout("channels first", (16, 24))
    assert halved.after(Joined(3), (1, 8, 16, 48)) is None


def test_a_layout_that_was_measured_is_followed_along_windows() -> None:
    anchor = Anchor(3, "stem", shape=(1, 8, 16, 24))
    halved = Track(anchor, anchor.shape).after(Windows((2, 2), (2, 2), (0, 0)), (1, 8, 8, 12))
    assert halved is not None
    assert halved.layout is None
    span = AxisSpan(0.25, 0.75), AxisSpan(0.0, 1.0)
    found = follow(halved, Layout("channels first", (16, 24), span=span))
    assert found == Layout("channels first", (8, 12), span=span)


# What blurs and what is noise


def test_a_sum_over_neighbours_is_not_one_over_channels() -> None:
    windows = centres(56, 56).reshape(2, 7, 8, 7, 8).permute(0, 2, 4, 1, 3).reshape(2, 64, 49)
    layout = read(moments(windows, 0.02, channels=64, at=3))
    assert layout.grid == (56, 56)
    assert layout.axis_of_channels % 4 == 3


def test_noise_of_single_numbers_does_not_hide_the_channels() -> None:
    draw = torch.Generator().manual_seed(0)
    measured = moments(0.5 + 0.3 * (centres(*GRID).flatten(1) - 0.5), 0.25, channels=64, at=2)
    noise = 0.2 * torch.randn(measured.first.shape, generator=draw, dtype=torch.float64)
    layout = read(measured._replace(first=measured.first + measured.energy * noise), GRID)
    assert layout.axis_of_channels % 3 == 2
    assert layout.grid == GRID


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_has_no_place(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    energy = torch.ones(1, 5, 8, dtype=torch.float64)
    centre = 0.5 + 0.1 * torch.randn(2, 1, 5, 8, generator=draw, dtype=torch.float64)
    assert "have no place" in refusal(Moments(energy, centre, centre**2 + 0.07))


def test_a_number_that_answers_to_nothing_does_not_matter() -> None:
    measured = moments(centres(*GRID), 0.05)
    measured.energy[..., 0, 0] = 0  # and rounding differs from weight to weight
    layout = read(measured._replace(first=measured.first * 1.0))
    assert layout.grid == GRID


@pytest.mark.parametrize("shift", [-0.4, -0.25, 0.3])
def test_tokens_may_look_beside_the_middle_of_their_cells(shift: float) -> None:
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    centre = centres(16, 16).flatten(1)[:, order] + shift / 16
    layout = read(tokens(centre, spread=0.02), (16, 16))
    assert layout.order == tuple(order.argsort().tolist())


def test_tokens_that_look_between_two_cells_have_no_grid() -> None:
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    refusal(tokens(centres(16, 16).flatten(1)[:, order] + 0.5 / 16, spread=0.02), (16, 16))


def test_one_of_two_tokens_in_a_cell_moves_to_the_free_one_beside_it() -> None:
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    centre = centres(16, 16).flatten(1)
    centre[1, 37] += 0.6 / 16  # the cell on its right is taken
    layout = read(tokens(centre[:, order], spread=0.02), (16, 16))
    assert layout.order == tuple(order.argsort().tolist())


def test_two_of_a_few_tokens_in_a_cell_have_no_grid() -> None:
    order = torch.randperm(CELLS, generator=torch.Generator().manual_seed(0))
    centre = patches()
    centre[1, 8] += 0.6 / 6
    refusal(tokens(centre[:, order], spread=0.02), GRID)
