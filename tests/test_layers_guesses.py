"""What shapes suggest, where nothing was measured yet."""

from __future__ import annotations

from limelight.layers.guesses import ambiguous, guess_pieces
from limelight.layers.layouts import Layout

FRAMES = (3, 8, 6, 8)  # 3 pieces, 8 channels, 6 x 8 cells


def test_a_row_for_each_frame_is_a_grid_over_the_video() -> None:
    assert guess_pieces(FRAMES, (3, 24, 32), 3, (0, 1, 2)) == Layout("frames", (3, 6, 8))


def test_of_several_pieces_the_rows_of_the_images_own_are_taken() -> None:
    cells = tuple(range(48, 96))  # of the second piece
    expected = Layout("tokens", (6, 8), order=cells, channel_axis=1, folds=3)
    assert guess_pieces(FRAMES, (24, 32), 3, (1,)) == expected
    both = Layout("tokens", (2, 6, 8), order=tuple(range(96)), channel_axis=1, folds=3)
    assert guess_pieces(FRAMES, (2, 24, 32), 3, (0, 1)) == both


def test_other_rows_than_pieces_are_no_grid() -> None:
    assert guess_pieces(FRAMES, (2, 24, 32), 2, (0, 1)) is None


def test_grids_that_tokens_could_have_are_named() -> None:
    problem = (
        "'blocks.0' puts out 50 tokens, and nothing in the network says along which grid they "
        "were cut"
    )
    assert ambiguous("blocks.0", (1, 50, 16), (28, 28)) == (
        f"{problem}; 7 x 7, 6 x 8, 8 x 6, 5 x 10, 10 x 5 would do. Say which with grid=(7, 7)."
    )
    assert ambiguous("blocks.0", (1, 50, 16), (28, 28), patches=50) == f"{problem}."
    assert ambiguous("blocks.0", (1, 50, 4, 4), (28, 28)) == ""


def test_a_layout_says_what_is_unusual_about_it() -> None:
    assert str(Layout("channels first", (6, 8))) == "channels first"
    rows = Layout("tokens", (6, 8), 1, order=tuple(range(48)), folds=3)
    assert str(rows) == "tokens, 1 prefix, in an order of its own, 3 rows for each image"
