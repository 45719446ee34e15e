"""The formulas of METHODS, which are one line of plain letters, set as HTML."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_TOKEN = re.compile(
    r"(?P<name>[A-Za-z]+'?|[)\]|](?=[_^]))"
    r"(?:_(?P<sub>[A-Za-z0-9]+(?:,[A-Za-z0-9]+)*))?(?:\^(?P<sup>\w+))?"
    r"|<-|."
)


#: Signs that look like other characters.
NONE = "\N{EN DASH}"


MINUS, TIMES, _ALPHA = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{GREEK SMALL LETTER ALPHA}"


_SIGNS = {
    "alpha": _ALPHA,
    "psi": "ψ",
    "phi": "φ",
    "sum": "∑",
    "prod": "∏",
    "int": "∫",
    "relu": "ReLU",
    "<-": "←",
    "*": "·",
    "-": MINUS,
}


def typeset(formula: str) -> Markup:
    """Return a formula as HTML: `sum_k mean_ij(dy_c/dA_k) A_k` with indices, ∂, and sums.

    Single letters are variables, in italics; longer words are functions or words, upright.
    """
    return Markup("").join(_set(match) for match in _TOKEN.finditer(formula))


def marked(formula: str) -> Markup:
    """Return the formula of a method as HTML, its weights marked; all of it when it has none."""
    parts = re.fullmatch(r"(sum_k )?(.+?)( A_k)?", formula)
    assert parts is not None  # a formula has a letter
    summation, weights, activations = parts.groups(default="")
    if not summation:
        weights, activations = formula, ""
    mark = Markup("<mark>{}</mark>").format(typeset(weights))
    return typeset(summation) + mark + typeset(activations)


def _set(match: re.Match[str]) -> Markup:
    name = match["name"]
    if name is None:
        return escape(_SIGNS.get(match[0], match[0]))
    html = Markup("")
    if (re.fullmatch("d[a-zA-Z]'?", name) and match["sub"]) or name in ("dA", "dX"):
        html, name = Markup("∂"), name[1:]
    sign = escape(_SIGNS.get(name, name))
    html += Markup("<i>{}</i>").format(sign) if re.fullmatch("[A-Za-z]'?", name) else sign
    if match["sub"]:
        html += Markup("<sub>{}</sub>").format(match["sub"])
    if match["sup"]:
        html += Markup("<sup>{}</sup>").format(match["sup"])
    return html
