"""The table of methods.

A method is a pure function from evidence to a raw map `[B, *grid]`, signed and unscaled. Its row
says what evidence it needs, so that one pass can serve many methods. The command line, the docs and
the tests read this table and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from limelight.errors import MethodError
from limelight.methods import (
    attention,
    controls,
    perturbed,
    pixels,
    pointwise,
    spectral,
    token_activation,
    weighted,
)
from limelight.methods.method import Method
from limelight.registry import find_entries, find_entry, means_all

__all__ = ["METHODS", "QUICK_METHODS", "Method", "chosen_methods", "find_method"]


#: In formulas: g = dy_c/dA, X the image, H_k channel k resized to it and scaled to [0, 1].
METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method(
            name="cam",
            family="weighted",
            function=weighted.cam,
            needs=frozenset({"class weights"}),
            formula="sum_k w_k^c A_k",
            paper="Zhou et al. 2016, Learning Deep Features for Discriminative Localization",
            use="The original, without a gradient: the head is a mean and one linear layer.",
            avoid="Where the head is more than a mean and one linear layer: it is refused there; "
            "take gradcam.",
            by_channel=True,
        ),
        Method(
            name="gradcam",
            family="weighted",
            function=weighted.gradcam,
            needs=frozenset({"gradients"}),
            formula="sum_k mean_ij(g_k) A_k",
            paper="Selvaraju et al. 2017, Grad-CAM",
            use="The one to start with: any network, any score, one backward through the head.",
            avoid="For a score that is read at one place, such as a box: its weights belong to "
            "whole channels. Nor on a transformer, unless measured: there it was behind a blob in "
            "the centre.",
            by_channel=True,
            sums_over="cells",
        ),
        Method(
            name="gradcam++",
            family="weighted",
            function=weighted.gradcam_plus_plus,
            needs=frozenset({"gradients"}),
            formula="sum_k (sum_ij g_k^2 / (2 g_k^2 + sum_ij(A_k) g_k^3) relu(g_k)) A_k",
            paper="Chattopadhay et al. 2018, Grad-CAM++",
            use="When several objects of the class should all be covered.",
            avoid="When the map should not depend on the scale of the score, or should count "
            "what speaks against the class; behind a mean pool it was less faithful than "
            "gradcam.",
            by_channel=True,
            keeps_positive=True,
        ),
        Method(
            name="xgradcam",
            family="weighted",
            function=weighted.xgradcam,
            needs=frozenset({"gradients"}),
            formula="sum_k (sum_ij A_k g_k / sum_ij A_k) A_k",
            paper="Fu et al. 2020, Axiom-based Grad-CAM",
            use="When the weights should account for the score as exactly as one per channel can.",
            avoid="Where activations can be negative: a channel whose sum is near zero then has "
            "a weight of any size.",
            by_channel=True,
            sums_over="cells",
        ),
        Method(
            name="shapleycam",
            family="weighted",
            function=weighted.shapleycam,
            needs=frozenset({"curvature", "gradients"}),
            formula="sum_k mean_ij(g_k - (H A)_k / 2) A_k",
            paper="Cai 2025, CAMs as Shapley Value-based Explainers",
            use="When the score is curved in A (a probability, a transformer's head); else "
            "it is Grad-CAM.",
            avoid="For the logit behind a mean pool and a linear layer: nothing is curved there, "
            "and a second derivative buys gradcam's map.",
            by_channel=True,
            sums_over="cells",
        ),
        Method(
            name="ablationcam",
            family="weighted",
            function=perturbed.ablationcam,
            needs=frozenset({"head"}),
            formula="sum_k (y_c - y_c(A without k)) A_k",
            paper="Desai and Ramaswamy 2020, Ablation-CAM",
            use="When gradients saturate: it measures what each channel is worth, by head runs.",
            avoid="In bfloat16, whose rounding is larger than what one channel is worth; and where "
            "gradcam works, which was more faithful on the embedded network.",
            by_channel=True,
        ),
        Method(
            name="scorecam",
            family="weighted",
            function=perturbed.scorecam,
            needs=frozenset({"network"}),
            formula="sum_k (y_c(X * H_k) - y_c(0)) A_k",
            paper="Wang et al. 2020, Score-CAM",
            use="Without gradients, when time allows one run of the network per channel.",
            avoid="When time counts: it runs the network hundreds of times, on photos seen "
            "through masks, of which the network has learned nothing.",
            by_channel=True,
        ),
        Method(
            name="sscam",
            family="weighted",
            function=perturbed.sscam,
            needs=frozenset({"network"}),
            formula="sum_k mean_i(y_c(X * (H_k + noise_i)) - y_c(0)) A_k",
            paper="Wang et al. 2020 b, SS-CAM: Smoothed Score-CAM",
            use="As scorecam, smoother, at a multiple of its cost.",
            avoid="With its default deviation, which leaves little of the masks: the map for a "
            "dog fell on the cat beside it.",
            by_channel=True,
        ),
        Method(
            name="iscam",
            family="weighted",
            function=perturbed.iscam,
            needs=frozenset({"network"}),
            formula="sum_k mean_i(y_c(X * i/n H_k) - y_c(0)) A_k",
            paper="Naidu et al. 2020, IS-CAM: Integrated Score-CAM",
            use="As scorecam, less tied to one strength of the mask, at a multiple of its cost.",
            avoid="When time counts: with ten samples it runs the network ten times as often as "
            "scorecam.",
            by_channel=True,
        ),
        Method(
            name="reciprocam",
            family="weighted",
            function=perturbed.reciprocam,
            needs=frozenset({"head"}),
            formula="y_c(A [only cell ij]) - y_c(0)",
            paper="Byun and Lee 2022, Recipro-CAM",
            use="Without gradients and fast: one head run per cell.",
            avoid="Behind a mean pool and a linear layer, where it is gradcam at a higher cost; "
            "and in bfloat16, whose rounding is larger than what one cell is worth.",
        ),
        Method(
            name="fem",
            family="weighted",
            function=weighted.fem,
            formula="sum_k mean_ij(A_k) [A_k > mean_ij A_k + 2 std_ij A_k]",
            paper="Fuad et al. 2020, Features Understanding in 3D CNNs",
            use="What stands out in the features, whatever the class.",
            avoid="To explain a class: it has the same map for all of them.",
            by_channel=True,
        ),
        Method(
            name="hirescam",
            family="pointwise",
            function=pointwise.hirescam,
            needs=frozenset({"gradients"}),
            formula="sum_k g_k A_k",
            paper="Draelos and Carin 2020, HiResCAM",
            use="When only what the score really used may light up, also in front of more layers.",
            avoid="Before a layer norm, where gradient times activation cancels; and behind a "
            "mean pool, where it is gradcam.",
            by_channel=True,
            sums_over="channels",
        ),
        Method(
            name="layercam",
            family="pointwise",
            function=pointwise.layercam,
            needs=frozenset({"gradients"}),
            formula="sum_k relu(g_k) A_k",
            paper="Jiang et al. 2021, LayerCAM",
            use="At early layers, for fine detail.",
            avoid="At the last layer before a mean pool: its weights are never negative there, "
            "and its maps failed the test of sanity.",
            by_channel=True,
            keeps_positive=True,
        ),
        Method(
            name="gradcam-elementwise",
            family="pointwise",
            function=pointwise.gradcam_elementwise,
            needs=frozenset({"gradients"}),
            formula="sum_k relu(g_k A_k)",
            paper="Gildenblat 2021, the grad-cam library",
            use="As layercam, where activations can be negative.",
            avoid="When what speaks against the class counts, which it drops; where no "
            "activation is negative it is layercam.",
            by_channel=True,
            keeps_positive=True,
        ),
        Method(
            name="eigencam",
            family="spectral",
            function=spectral.eigencam,
            formula="A V_1",
            paper="Muhammad and Yeasin 2020, Eigen-CAM",
            use="What the features show most of, whatever the class; needs no score.",
            avoid="To explain a class: it knows none, and at the last layer its maps failed the "
            "test of sanity.",
        ),
        Method(
            name="eigengradcam",
            family="spectral",
            function=spectral.eigengradcam,
            needs=frozenset({"gradients"}),
            formula="(g A) V_1",
            paper="Gildenblat 2021, the grad-cam library, after Muhammad and Yeasin 2020",
            use="As eigencam, of a class.",
            avoid="When the whole sum of gradient times activation counts: of that it keeps one "
            "direction.",
        ),
        Method(
            name="segeigencam",
            family="spectral",
            function=spectral.segeigencam,
            needs=frozenset({"gradients"}),
            formula="(|g| A) V_1, centred",
            paper="Chung and Ying 2025, Seg-Eigen-CAM",
            use="For segmentation: where the class depends on the features, in either direction.",
            avoid="When for and against must differ: it takes the size of the gradient, so that "
            "both light up.",
        ),
        Method(
            name="kpcacam",
            family="spectral",
            function=spectral.kpcacam,
            formula="sqrt(l_1) u_1 of tanh(A A^T / K + 1)",
            paper="Karmani et al. 2024, KPCA-CAM",
            use="As eigencam, where one straight direction does not do.",
            avoid="To explain a class: it knows none; and on large grids: it compares every cell "
            "with every other.",
        ),
        Method(
            name="saliency",
            family="pixels",
            function=pixels.saliency,
            needs=frozenset({"gradients"}),
            place="input",
            formula="max_k |dy_c/dX_k|",
            paper="Simonyan et al. 2014, Deep Inside Convolutional Networks",
            use="Which pixels the score is sensitive to; noisy, but true to the network.",
            avoid="To show people a place: its maps are noise to the eye, and in insertion they "
            "did not beat a blob in the centre.",
        ),
        Method(
            name="input-x-gradient",
            family="pixels",
            function=pixels.input_x_gradient,
            needs=frozenset({"gradients"}),
            place="input",
            formula="sum_k X_k dy_c/dX_k",
            paper="Shrikumar et al. 2016, Not Just a Black Box",
            use="A first order account of each pixel's share, signed.",
            avoid="Where pixels of the mean colour matter: X is zero there, and so is the map, "
            "whatever the score does.",
            by_channel=True,
        ),
        Method(
            name="smoothgrad",
            family="pixels",
            function=pixels.smoothgrad,
            needs=frozenset({"head"}),
            place="input",
            formula="max_k |mean_i dy_c/dX_k (X + noise_i)|",
            paper="Smilkov et al. 2017, SmoothGrad",
            use="As saliency, with much of the noise averaged away.",
            avoid="When the sign counts, or time: it takes fifty gradients and keeps only their "
            "size.",
        ),
        Method(
            name="integrated-gradients",
            family="pixels",
            function=pixels.integrated_gradients,
            needs=frozenset({"head"}),
            place="input",
            formula="sum_k (X_k - X'_k) int_0^1 dy_c/dX_k(X' + t (X - X')) dt",
            paper="Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks",
            use="When the shares of the pixels must add up to the score.",
            avoid="Where the baseline means something to the network: pixels that have its "
            "colour get nothing.",
            by_channel=True,
            sums_to=pixels.score_gained,
        ),
        Method(
            name="guided-backprop",
            family="pixels",
            function=pixels.guided_backprop,
            needs=frozenset({"guided gradients"}),
            place="network",
            formula="max_k |R_k|",
            paper="Springenberg et al. 2015, Striving for Simplicity",
            use="Sharp edges for a picture; it hardly depends on the class: do not trust it alone.",
            avoid="As evidence for a class: its maps failed the test of sanity; and in networks "
            "without ReLUs, which it refuses.",
            keeps_positive=True,
        ),
        Method(
            name="guided-gradcam",
            family="pixels",
            function=pixels.guided_gradcam,
            needs=frozenset({"gradients", "guided gradients"}),
            formula="max_k |R_k| * G / max G, G = resize(relu(gradcam))",
            paper="Selvaraju et al. 2017, Grad-CAM",
            use="Sharp edges where Grad-CAM lies.",
            avoid="When its fine edges are to be reasons: they come from guided-backprop; and in "
            "networks without ReLUs, which it refuses.",
            sums_over="cells",
            keeps_positive=True,
        ),
        Method(
            name="fullgrad",
            family="pixels",
            function=pixels.fullgrad,
            needs=frozenset({"bias gradients", "gradients"}),
            place="network",
            formula="psi(X g) + sum_l sum_k psi(b_l dy_c/dz_l)_k",
            paper="Srinivas and Fleuret 2019, Full-Gradient Representation for Neural Network "
            "Visualization",
            use="When all layers should be seen at once in a convolutional network of ReLUs.",
            avoid="When for and against must differ: it adds absolute values, so that both light "
            "up.",
        ),
        Method(
            name="occlusion",
            family="perturbed",
            function=perturbed.occlusion,
            needs=frozenset({"head"}),
            place="input",
            formula="mean of y_c - y_c(X covered by w) over windows w at ij",
            paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks",
            use="To ask the plainest question: what the score loses when a part is covered.",
            avoid="When several parts are each enough for the score: it hardly falls while one "
            "of them is left, and none lights up.",
        ),
        Method(
            name="rise",
            family="perturbed",
            function=perturbed.rise,
            needs=frozenset({"head"}),
            place="input",
            formula="sum_i (s_i - mean s) M_i / (N p), s_i = y_c(X * M_i)",
            paper="Petsiuk et al. 2018, RISE",
            use="A black box: thousands of runs, no gradient, no layer.",
            avoid="When time counts, or details do: it takes thousands of runs, and its masks "
            "are seven cells wide.",
        ),
        Method(
            name="kernelshap",
            family="perturbed",
            function=perturbed.kernelshap,
            needs=frozenset({"head"}),
            place="input",
            formula="phi of the superpixel at ij",
            paper="Lundberg and Lee 2017, A Unified Approach to Interpreting Model Predictions",
            use="Fair shares of the score for the parts of a picture.",
            avoid="When details count: all pixels of a part have one value, and with few samples "
            "that is noisy.",
        ),
        Method(
            name="rollout",
            family="attention",
            function=attention.rollout,
            needs=frozenset({"attention"}),
            place="network",
            formula="prod_l (A_l + I) / 2",
            paper="Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers",
            use="Where a transformer's attention comes from in the end, whatever the class.",
            avoid="To explain a class: it knows none, and its maps failed the test of sanity.",
        ),
        Method(
            name="attention-x-gradient",
            family="attention",
            function=attention.attention_x_gradient,
            needs=frozenset({"attention"}),
            place="network",
            formula="R <- R + mean_h relu(dy_c/dA_l A_l) R",
            paper="Chefer et al. 2021, Generic Attention-model Explainability",
            use="As rollout, of a class.",
            avoid="When what speaks against the class counts, which it drops at every layer; "
            "networks without attention are refused.",
            keeps_positive=True,
        ),
        Method(
            name="legrad",
            family="attention",
            function=attention.legrad,
            needs=frozenset({"layer attention"}),
            place="network",
            formula="mean_l mean_h,q relu(ds_l/dA_l)",
            paper="Bousselham et al. 2024, LeGrad",
            use="What each layer of a transformer would attend to more, for the class.",
            avoid="Without measuring it: on the one transformer tried here it did not beat a blob "
            "in the centre; attention within windows is refused.",
            keeps_positive=True,
        ),
        Method(
            name="grad-eclip",
            family="attention",
            function=attention.grad_eclip,
            needs=frozenset({"attention"}),
            place="network",
            formula="lambda_i sum_c dy_c/do_c v_ic, lambda = cos(q, k_i) in [0, 1]",
            paper="Zhao et al. 2024, Gradient-based Visual Explanation for Transformer-based CLIP",
            use="For CLIP and its like: what a prompt finds, from the last attention.",
            avoid="As a share of the score: a cosine stands in the place of the softmax, so that "
            "its map is not what the network added up.",
        ),
        Method(
            name="tam",
            family="words",
            function=token_activation.tam,
            needs=frozenset({"word logits"}),
            place="network",
            formula="relu(Z_i - s sum_j a_j Z_j), filtered by rank; Z_i the logits of word i",
            paper="Li et al. 2025, Token Activation Map to Visually Explain Multimodal LLMs",
            use="For an answer's words: where a language model would say the word, without what "
            "earlier words explain; needs no gradient.",
            avoid="To ask whether an answer rests on a place: it shows where the word is "
            "recognised; cover the place to know.",
            keeps_positive=True,
        ),
        Method(
            name="random",
            family="control",
            function=controls.random,
            formula="uniform",
            paper="Adebayo et al. 2018, Sanity Checks for Saliency Maps",
            use="A baseline: what a score is worth that a random map reaches too.",
            avoid="As an explanation: it knows nothing of the network.",
        ),
        Method(
            name="centre",
            family="control",
            function=controls.centre,
            formula="exp(-|ij - middle|^2 / 2 w^2)",
            paper="Zhang et al. 2018, Top-down Neural Attention by Excitation Backprop",
            use="A baseline: photographers put things in the middle.",
            avoid="As an explanation: it knows nothing of the network or the photo.",
        ),
    )
}


def find_method(method: str | Method) -> Method:
    """Return a method: by its name in METHODS, or as `name:option=value,option=value`.

    Raises:
        UnknownNameError: There is no such method, or it has no such option; the nearest are named.
        OptionError: An option cannot be read, or cannot have that value.
    """
    return find_entry(METHODS, "method", method)


#: The methods that `compare` runs when none is named: one of each kind that does not take minutes.
QUICK_METHODS = (
    "gradcam",
    "layercam",
    "gradcam++",
    "hirescam",
    "eigencam",
    "ablationcam",
    "saliency",
    "occlusion",
    "random",
)


def chosen_methods(methods: str | Method | Sequence[str | Method] | None) -> list[Method]:
    """Return the methods asked for, each once: all of METHODS for "all", QUICK_METHODS for None.

    Names may stand in one text, with spaces or commas between them.

    Raises:
        UnknownNameError, OptionError: As `find_method`.
        MethodError: The list is empty.
    """
    if means_all(methods):
        return list(METHODS.values())
    rows = find_entries(METHODS, "method", QUICK_METHODS if methods is None else methods)
    if not rows:
        raise MethodError("There are no methods to compare; name at least one, or 'all'.")
    return rows
