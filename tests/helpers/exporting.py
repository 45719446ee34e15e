"""What tests of exported files need."""

from __future__ import annotations

import pytest

from limelight.errors import OptionError
from limelight.exporting.formats import check_packages


def needs_onnx() -> None:
    """Skip a file of tests where no ONNX files can be written, with the reason."""
    try:
        check_packages()
    except OptionError as error:
        pytest.skip(str(error), allow_module_level=True)
