"""Formulas and numbers, as a walkthrough's page sets them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
from markupsafe import Markup

from helpers.pages import read
from limelight.methods import METHODS
from limelight.steps.formulas import MINUS, marked, typeset
from limelight.steps.page_numbers import readable

ALPHA = "\N{GREEK SMALL LETTER ALPHA}"


def plain(formula: str) -> str:
    """Return the letters of a formula that has to be left over when it is set."""
    signs = {"alpha": ALPHA, "psi": "ψ", "phi": "φ", "sum": "∑", "prod": "∏", "int": "∫"}
    words = re.sub(r"\bd(?=[A-Za-z]'?[_/])|\bd(?=[AX]\b)", "∂", formula)
    words = re.sub(r"[A-Za-z]+", lambda match: signs.get(match[0], match[0]), words)
    words = words.replace("relu", "ReLU").replace("<-", "←").replace("*", "·")
    return re.sub(r"[_^](?=[A-Za-z0-9])", "", words).replace("-", MINUS)


@pytest.mark.parametrize("write", [typeset, marked])
@pytest.mark.parametrize("name", METHODS)
def test_formulas_of_all_methods_are_set_whole(name: str, write: Callable[[str], Markup]) -> None:
    formula = METHODS[name].formula
    tree = read(str(write(formula)))  # which refuses tags that are not balanced
    assert {node.tag for node in tree.all()} <= {"i", "sub", "sup", "mark"}
    assert tree.text == plain(formula)
    assert not re.search(r"[_^](?=\w)", tree.text)
    if write is marked:
        assert tree.one("mark").text.strip()


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("A_k", "<i>A</i><sub>k</sub>"),
        ("dy_c/dA_k,ij", "∂<i>y</i><sub>c</sub>/∂<i>A</i><sub>k,ij</sub>"),
        ("sum_k w_k^c A_k", "∑<sub>k</sub> <i>w</i><sub>k</sub><sup>c</sup> <i>A</i><sub>k</sub>"),
        ("alpha_k * -1", f"{ALPHA}<sub>k</sub> · {MINUS}1"),
        ("relu(x) < max(x)", "ReLU(<i>x</i>) &lt; max(<i>x</i>)"),
        ("R <- d", "<i>R</i> ← <i>d</i>"),
        ("X'_k & (H A)_k", "<i>X&#39;</i><sub>k</sub> &amp; (<i>H</i> <i>A</i>)<sub>k</sub>"),
        ("<b>", "&lt;<i>b</i>&gt;"),
    ],
)
def test_formulas_are_set_as_people_write_them(formula: str, expected: str) -> None:
    assert str(typeset(formula)) == expected


def test_what_sets_a_method_apart_is_marked() -> None:
    assert str(marked("sum_k g_k A_k")) == (
        "∑<sub>k</sub> <mark><i>g</i><sub>k</sub></mark> <i>A</i><sub>k</sub>"
    )
    assert str(marked("uniform")) == "<mark>uniform</mark>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.23456, "-1.235"),
        (0.001, "0.001"),
        (0.00099999, "1.000e-3"),
        (-1.5e-4, "-1.500e-4"),
        (12345.0, "1.234e4"),
        (123456.0, "1.235e5"),
        (1e-12, "1.000e-12"),
        (1e100, "1.000e100"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert readable(value) == text.replace("-", MINUS)
