"""Targets: what to explain, as a rule that turns the network's output into one score per image.

    None                       the predicted class of each image
    281                        one class for all images
    "tabby"                    the same, by name
    [281, 254], ["pug", 281]   one class per image (a tensor of indices too)
    Rank(2)                    the class with the second highest logit, per image
    AnyOf([281, 282])          the one of these classes with the highest logit, per image
    Pair()                     of B pictures and B texts, to each picture its own text
    Contrast(281)              why this class rather than the most similar ones
    Counterfactual(281)        what speaks against this class
    Region(15, where=mask)     a class of a segmenter, over a mask, a pixel or where it is predicted
    Box([3, 4, 50, 60], 18)    a class of a detector, in a box
    Edge("left", box, 18)      where the left edge of that box lies
    Mask(7), Mask((120, 64))   one of the masks that a model proposes, by number or at a pixel
    Keypoint("nose")           the peak of a heatmap
    Words(ids, at=3)           a word of a caption or an answer, by its log-probability
    Similarity(vector)         an embedding, by its similarity to another
    any callable               output -> scores [B]
    your own ScoreTarget       one class with `score(output, context)`

A class score is the logit `y_c`, before softmax, as in Grad-CAM (Selvaraju et al. 2017, eq. 1).
None means, for a segmenter, the class predicted on most pixels; for a detector, the most probable
object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from limelight.lazy import lazy_names

if TYPE_CHECKING:
    from limelight.targets.boxes import Box
    from limelight.targets.class_names import ClassName
    from limelight.targets.classes import (
        AnyOf,
        Chosen,
        ClassTarget,
        GivenClasses,
        Pair,
        Rank,
        Terms,
        top,
    )
    from limelight.targets.context import TargetContext
    from limelight.targets.differences import Contrast, Counterfactual
    from limelight.targets.edges import Edge
    from limelight.targets.keypoints import Keypoint
    from limelight.targets.masks import Mask
    from limelight.targets.outputs import LogitsKey, OutputSpec, output_spec
    from limelight.targets.regions import Region
    from limelight.targets.scores import (
        ExplainedTokens,
        FixedScore,
        OtherClasses,
        Scores,
        ScoreTarget,
    )
    from limelight.targets.tables import ClassRanking
    from limelight.targets.target import Target, as_target
    from limelight.targets.words import Similarity, Words, each_word

__all__ = [
    "AnyOf",
    "Box",
    "Chosen",
    "ClassName",
    "ClassRanking",
    "ClassTarget",
    "Contrast",
    "Counterfactual",
    "Edge",
    "ExplainedTokens",
    "FixedScore",
    "GivenClasses",
    "Keypoint",
    "LogitsKey",
    "Mask",
    "OtherClasses",
    "OutputSpec",
    "Pair",
    "Rank",
    "Region",
    "ScoreTarget",
    "Scores",
    "Similarity",
    "Target",
    "TargetContext",
    "Terms",
    "Words",
    "as_target",
    "each_word",
    "output_spec",
    "top",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "boxes": ("Box",),
        "class_names": ("ClassName",),
        "classes": (
            "AnyOf",
            "Chosen",
            "ClassTarget",
            "GivenClasses",
            "Pair",
            "Rank",
            "Terms",
            "top",
        ),
        "context": ("TargetContext",),
        "differences": (
            "Contrast",
            "Counterfactual",
        ),
        "edges": ("Edge",),
        "keypoints": ("Keypoint",),
        "masks": ("Mask",),
        "outputs": (
            "LogitsKey",
            "OutputSpec",
            "output_spec",
        ),
        "regions": ("Region",),
        "scores": (
            "ExplainedTokens",
            "FixedScore",
            "OtherClasses",
            "Scores",
            "ScoreTarget",
        ),
        "tables": ("ClassRanking",),
        "target": (
            "Target",
            "as_target",
        ),
        "words": (
            "Similarity",
            "Words",
            "each_word",
        ),
    },
)
