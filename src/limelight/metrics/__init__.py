"""Is the map true? The table of metrics.

A metric is a pure pair: `update`, from a batch of maps to readings, one per image, and `mean`,
from the readings of all images to a mean with its interval. So readings can be taken in any
batches, on any machines, and joined. The command line, the docs and the tests read this table and
nothing else.
"""

from __future__ import annotations

from limelight.metrics import complexity, faithfulness, localisation, robustness
from limelight.metrics.metric import CurveAxes, Metric
from limelight.registry import find_entry

__all__ = ["METRICS", "Metric", "find_metric"]


def _shares(count: int) -> list[float]:
    """Return equally spaced shares from 0 to 1, both ends included."""
    return [i / (count - 1) for i in range(count)]


def _inner_shares(count: int) -> list[float]:
    """Return equally spaced shares from 0 to 1, without the ends."""
    return [(i + 1) / (count + 1) for i in range(count)]


def _stage_numbers(count: int) -> list[float]:
    return [float(i + 1) for i in range(count)]


#: In the formulas f is the probability p_c (the score, where there is none), M the heatmap, x the
#: image, B the object, phi the raw map, and y the score.
METRICS: dict[str, Metric] = {
    row.name: row
    for row in (
        Metric(
            name="deletion",
            family="faithfulness",
            function=faithfulness.deletion,
            better="lower",
            axes=CurveAxes("share of pixels removed", "f, the probability", _shares),
            formula="area under f(x without the highest M)",
            paper="Petsiuk et al. 2018, RISE",
            use="Does the score fall when what lights up is taken away? Holes are seen, too.",
            avoid="Alone: it rewards maps that tear holes, and where the mean colour speaks for "
            "the class it ranks maps the wrong way round.",
        ),
        Metric(
            name="insertion",
            family="faithfulness",
            function=faithfulness.insertion,
            better="higher",
            axes=CurveAxes("share of pixels sharp", "f, the probability", _shares),
            formula="area under f(blurred x with the highest M sharp)",
            paper="Petsiuk et al. 2018, RISE",
            use="Is what lights up enough to bring the score back? The one to start with.",
            avoid="Alone; and where what a blur leaves speaks for the class, as it ranks maps the "
            "wrong way round there.",
        ),
        Metric(
            name="road",
            family="faithfulness",
            function=faithfulness.road,
            better="higher",
            lower_parts=frozenset({"morf"}),
            axes=CurveAxes("share of pixels removed", "f, the probability", _inner_shares),
            formula="(mean f(x without the lowest M) - mean f(x without the highest M)) / 2",
            paper="Rong et al. 2022, A Consistent and Efficient Evaluation Strategy (ROAD)",
            use="As deletion, with no holes for the network to see: they are filled in.",
            avoid="Where neighbours tell what was removed, or where the mean colour speaks for "
            "the class.",
        ),
        Metric(
            name="average-drop",
            family="faithfulness",
            function=faithfulness.average_drop,
            better="lower",
            needs=frozenset({"probability"}),
            formula="max(0, p(x) - p(x M)) / p(x)",
            paper="Chattopadhay et al. 2018, Grad-CAM++",
            use="To compare with papers; large maps do well in it.",
            avoid="Alone: a map of everything loses nothing; read complexity beside it.",
        ),
        Metric(
            name="increase",
            family="faithfulness",
            function=faithfulness.increase,
            better="higher",
            yes_or_no=True,
            formula="[f(x M) > f(x)]",
            paper="Chattopadhay et al. 2018, Grad-CAM++",
            use="To compare with papers: how often less of the image is more certain.",
            avoid="To choose by it alone: where the right map is known, it never found it.",
        ),
        Metric(
            name="average-gain",
            family="faithfulness",
            function=faithfulness.average_gain,
            better="higher",
            needs=frozenset({"probability"}),
            formula="max(0, p(x M) - p(x)) / (1 - p(x))",
            paper="Zhang et al. 2024, Opti-CAM",
            use="Beside average-drop, which large maps pass for free.",
            avoid="To choose by it alone: where the right map is known, it never found it.",
        ),
        Metric(
            name="adcc",
            family="faithfulness",
            function=faithfulness.adcc,
            better="higher",
            needs=frozenset({"probability", "recipe"}),
            lower_parts=frozenset({"complexity", "average drop"}),
            formula="harmonic mean of coherency, 1 - complexity, 1 - drop",
            paper="Poppi et al. 2021, Revisiting the Evaluation of Class Activation Mapping",
            use="One number for: coherent, small, and enough.",
            avoid="To see why a map is bad: three numbers are mixed, and a map that is the same "
            "everywhere comes behind wrong ones.",
        ),
        Metric(
            name="infidelity",
            family="faithfulness",
            function=faithfulness.infidelity,
            better="lower",
            formula="E (I phi - (y(x) - y(x - I)))^2",
            paper="Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations",
            use="Does the signed map add up to what parts of the image are worth?",
            avoid="To tell a map from the same with its sign turned; infidelity:scaled=false does.",
        ),
        Metric(
            name="occlusion-correlation",
            family="faithfulness",
            function=faithfulness.occlusion_correlation,
            better="higher",
            formula="Spearman(M, y(x) - y(x without patch))",
            paper="Selvaraju et al. 2017, Grad-CAM",
            use="Does M rank the parts of the image as covering them does?",
            avoid="Where parts matter only together: it removes one at a time.",
        ),
        Metric(
            name="saco",
            family="faithfulness",
            function=faithfulness.saco,
            better="higher",
            formula="sum +-(s_i - s_j) / sum (s_i - s_j), + if f loses as much without i as j",
            paper="Wu et al. 2024, On the Faithfulness of Vision Transformer Explanations",
            use="Are pixels with more heat worth more, group by group, each removed alone?",
            avoid="To tell a true map from a map of everything; read complexity beside it.",
        ),
        Metric(
            name="pointing-game",
            family="localisation",
            function=localisation.pointing_game,
            better="higher",
            needs=frozenset({"objects"}),
            over_groups=True,
            yes_or_no=True,
            formula="[max M within 15 px of B], mean over classes",
            paper="Zhang et al. 2018, Top-down Neural Attention by Excitation Backprop",
            use="Is the hottest point on the object?",
            avoid="To tell methods apart: it sees a hit or a miss, nothing else; and where the "
            "network's reason may lie beside the object.",
        ),
        Metric(
            name="energy-pointing",
            family="localisation",
            function=localisation.energy_pointing,
            better="higher",
            needs=frozenset({"objects"}),
            formula="sum(M in B) / sum(M)",
            paper="Wang et al. 2020, Score-CAM",
            use="How much of the heat is on the object?",
            avoid="With objects that fill the photo, on which any map has much energy; most=0.5 "
            "leaves them out.",
        ),
        Metric(
            name="mass-accuracy",
            family="localisation",
            function=localisation.mass_accuracy,
            better="higher",
            needs=frozenset({"objects"}),
            formula="sum(R+ in B) / sum(R+)",
            paper="Arras et al. 2022, CLEVR-XAI",
            use="As energy-pointing, of the raw map's positive part: for masks.",
            avoid="With boxes for masks: their corners count as object.",
        ),
        Metric(
            name="rank-accuracy",
            family="localisation",
            function=localisation.rank_accuracy,
            better="higher",
            needs=frozenset({"objects"}),
            formula="|top |B| pixels of M in B| / |B|",
            paper="Arras et al. 2022, CLEVR-XAI",
            use="Does the map have the object's extent?",
            avoid="Where a cell of the grid is larger than the object: no map of that grid can "
            "have its extent.",
        ),
        Metric(
            name="localisation-error",
            family="localisation",
            function=localisation.localisation_error,
            better="lower",
            yes_or_no=True,
            needs=frozenset({"objects"}),
            formula="[IoU(box of M >= 15% of its maximum, box of B) < 0.5]",
            paper="Selvaraju et al. 2017, Grad-CAM",
            use="Can the map draw the object's box?",
            avoid="To ask whether a map is true: one threshold decides, and two objects side by "
            "side become one box.",
        ),
        Metric(
            name="sparseness",
            family="complexity",
            function=complexity.sparseness,
            better="higher",
            formula="Gini index of M",
            paper="Chalasani et al. 2020, Concise Explanations of Neural Networks",
            use="Is the heat on few pixels? A map can be sparse and wrong.",
            avoid="As a sign of truth: a single wrong pixel has the highest value.",
        ),
        Metric(
            name="complexity",
            family="complexity",
            function=complexity.complexity,
            better="lower",
            formula="-sum P ln P, P = M / sum(M)",
            paper="Bhatt et al. 2020, Evaluating and Aggregating Feature-based Model Explanations",
            use="As sparseness, by entropy; beside it its share of a uniform map's.",
            avoid="As a sign of truth: a single wrong pixel has the lowest value.",
        ),
        Metric(
            name="max-sensitivity",
            family="robustness",
            function=robustness.max_sensitivity,
            better="lower",
            needs=frozenset({"recipe"}),
            formula="max |phi(x + d) - phi(x)| / |phi(x)|",
            paper="Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations",
            use="Does the map stay when the image hardly changes?",
            avoid="Alone: a map that ignores both photo and network never changes.",
        ),
        Metric(
            name="parameter-randomisation",
            family="sanity",
            function=robustness.parameter_randomisation,
            better="lower",
            needs=frozenset({"recipe"}),
            axes=CurveAxes("stage, from the logits down", "likeness", _stage_numbers),
            formula="Spearman(phi, phi with random weights), mean over a cascade",
            paper="Adebayo et al. 2018, Sanity Checks for Saliency Maps",
            use="Does the map go away with what the network learned?",
            avoid="As proof that a map is right: it says only that the map depends on the weights.",
        ),
        Metric(
            name="random-logit",
            family="sanity",
            function=robustness.random_logit,
            better="lower",
            needs=frozenset({"recipe"}),
            formula="Spearman(phi, phi of another class)",
            paper="Sixt et al. 2020, When Explanations Lie",
            use="Does the map change with the class that is explained?",
            avoid="Between two classes: signed maps turn round, those of sizes stay, and neither "
            "is a fault.",
        ),
    )
}


def find_metric(metric: str | Metric) -> Metric:
    """Return a metric: by its name in METRICS, or as `name:option=value,option=value`.

    Raises:
        UnknownNameError: There is no such metric, or it has no such option; the nearest are named.
        OptionError: An option cannot be read, or cannot have that value.
    """
    return find_entry(METRICS, "metric", metric)
