"""The table of methods.

A method is a pure function from evidence to a raw map `[B, *grid]`, signed and unscaled. Its row
says what it needs, so that one pass can serve many methods. The command line, the docs and the
tests read this table and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from limelight.errors import unknown
from limelight.evidence import Evidence, Need
from limelight.methods import weighted


@dataclass(frozen=True, slots=True)
class Method:
    """A row of METHODS.

    Attributes:
        name: What it is called with.
        function: From evidence to a raw map `[B, *grid]`.
        needs: What it reads besides the activations.
        formula: The raw map, in one line.
        paper: Where it comes from.
        use: When to use it, in one sentence.
    """

    name: str
    function: Callable[[Evidence], Tensor]
    needs: frozenset[Need]
    formula: str
    paper: str
    use: str


METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method(
            name="gradcam",
            function=weighted.gradcam,
            needs=frozenset({"gradients"}),
            formula="sum_k mean_ij(dy_c/dA_k) A_k",
            paper="Selvaraju et al. 2017, Grad-CAM",
            use="The one to start with: any network, any score, one backward through the head.",
        ),
        Method(
            name="cam",
            function=weighted.cam,
            needs=frozenset({"class weights"}),
            formula="sum_k w_k^c A_k",
            paper="Zhou et al. 2016, Learning Deep Features for Discriminative Localization",
            use="The original, without a gradient, where the head is an average pool and one "
            "linear layer.",
        ),
    )
}


def find_method(name: str) -> Method:
    """Return a row of METHODS.

    Raises:
        UnknownNameError: There is no such method; the nearest names are given.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS, f"There are {', '.join(METHODS)}.")
    return METHODS[name]
