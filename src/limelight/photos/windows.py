"""The windows that computed tomography is looked at through."""

from __future__ import annotations

from limelight.errors import OptionError, unknown
from limelight.photos.raster import ValueWindow, check_window

#: The centre and the width of each, in Hounsfield units: A. Murphy, D. Bell et al., "Windowing
#: (CT)", Radiopaedia.org, https://radiopaedia.org/articles/windowing-ct; the middle of those that
#: are given as a range.
WINDOWS: dict[str, ValueWindow] = {
    "abdomen": (50, 400),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (30, 150),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft-tissue": (40, 375),
    "spine": (50, 250),
    "stroke": (40, 40),
    "subdural": (75, 215),
    "temporal-bone": (600, 2800),
}


def read_window(text: str) -> ValueWindow:
    """Return the window that a text names: "lung", or its centre and width, "40,400".

    Raises:
        UnknownNameError: There is no window of that name.
        OptionError: The text holds other than two numbers, or the width is not positive.
    """
    if text.strip().casefold() in WINDOWS:
        return WINDOWS[text.strip().casefold()]
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        if len(parts) == 1 and text.strip():
            known = f"There are {', '.join(WINDOWS)}; or give centre and width, as in '40,400'."
            raise unknown("window", text, WINDOWS, known) from None
        numbers = []
    if len(numbers) != 2:
        raise OptionError(
            f"The window is {text!r}; its centre and its width were expected, as in '40,400', or a "
            f"name: {', '.join(WINDOWS)}."
        )
    window = numbers[0], numbers[1]
    check_window(window)
    return window
