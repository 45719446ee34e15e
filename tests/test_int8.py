"""An exported network in 8 bits: what becomes integers, how small it gets, what the map loses."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers.exporting import needs_onnx
from helpers.onnx_networks import Arrays, exported, pictures, run, session, trained_network
from helpers.shapes import scenes
from limelight.errors import OptionError
from limelight.exporting.int8 import body_nodes, quantise
from limelight.exporting.preprocessing_graph import with_preprocessing
from limelight.photos.preprocess import Preprocess

needs_onnx()


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return exported(trained_network())


def cut_value(model: onnx.ModelProto) -> str:
    """Return the name of what the body puts out: the last ReLU before the raw map."""
    makers = {value: node for node in model.graph.node for value in node.output}
    return next(str(value) for value in makers["raw"].input if makers[value].op_type == "Relu")


def inputs(count: int, seed: int) -> list[Arrays]:
    images = pictures(scenes(count, seed, shapes=1).images).numpy()
    return [{"image": image[None], "target": np.array([-1])} for image in images]


@pytest.fixture(scope="module")
def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    return quantise(model, [cut_value(model)], inputs(32, seed=2))


def weight_bytes(model: onnx.ModelProto) -> dict[int, int]:
    """Return how many bytes of weights a file has, by their type."""
    sizes: dict[int, int] = {}
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        sizes[weight.data_type] = sizes.get(weight.data_type, 0) + array.nbytes
    return sizes


def test_the_body_is_a_quarter_and_the_head_is_left_as_it_is(
    model: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    whole, small = weight_bytes(model), weight_bytes(quantised)
    head = 4 * (3 * 64 + 3)  # the classifier
    body = whole[TensorProto.FLOAT] - head
    assert 0.99 < small[TensorProto.INT8] / (body / 4) < 1.01
    assert quantised.ByteSize() < 0.4 * model.ByteSize()
    # Nodes after the cut are the same, in the same order, and read the same values.
    body_names = {node.output[0] for node in body_nodes(model, [cut_value(model)])}
    after = [node for node in model.graph.node if node.output[0] not in body_names]
    assert list(quantised.graph.node)[-len(after) :] == after
    assert model.metadata_props == quantised.metadata_props
    assert model.graph.input == quantised.graph.input
    assert model.graph.output == quantised.graph.output
    assert model.opset_import == quantised.opset_import


def test_the_class_is_kept_and_the_map_is_close(
    model: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    exact, small = session(model), session(quantised)
    agree, correlations, gaps = 0, [], []
    for each in inputs(32, seed=3):
        expected, got = run(exact, **each), run(small, **each)
        agree += int(expected["logits"].argmax() == got["logits"].argmax())
        correlations.append(np.corrcoef(expected["raw"].ravel(), got["raw"].ravel())[0, 1])
        gaps.append(abs(expected["raw"] - got["raw"]).max() / abs(expected["raw"]).max())
    assert agree >= 31
    assert min(correlations) > 0.99
    assert 0 < max(gaps) < 0.15


def test_any_batch_is_taken_as_before(quantised: onnx.ModelProto) -> None:
    small = session(quantised)
    each = inputs(3, seed=4)
    batch = np.concatenate([feeds["image"] for feeds in each])
    together = run(small, image=batch, target=np.array([0, 1, 2]))
    for row, feeds in enumerate(each):
        alone = run(small, image=feeds["image"], target=np.array([row]))
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][row : row + 1], values, atol=1e-5)


def test_weights_are_those_of_float_rounded_per_channel(
    model: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    def weights(graph: onnx.GraphProto, type_: int) -> list[npt.NDArray[Any]]:
        arrays = [numpy_helper.to_array(w) for w in graph.initializer if w.data_type == type_]
        return [array for array in arrays if array.ndim == 4]

    exact = weights(model.graph, TensorProto.FLOAT)
    small = weights(quantised.graph, TensorProto.INT8)
    assert len(exact) == len(small) == 4
    for weight in exact:
        scale = abs(weight).max((1, 2, 3), keepdims=True) / 127
        rounded = np.round(weight / scale)
        closest = min(abs(rounded - other).max() for other in small if other.shape == rounded.shape)
        assert closest <= 1


def test_nothing_is_left_behind(
    model: onnx.ModelProto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = logging.getLogger()
    before = model.SerializeToString(deterministic=True)
    handlers, filters = list(root.handlers), list(root.filters)
    quantise(model, [cut_value(model)], iter(inputs(1, seed=5)))
    assert list(tmp_path.iterdir()) == []
    assert (root.handlers, root.filters) == (handlers, filters)
    assert capfd.readouterr() == ("", "")
    assert model.SerializeToString(deterministic=True) == before


def test_the_preprocessing_inside_stays_exact(model: onnx.ModelProto) -> None:
    preprocess = Preprocess(resize=70, size=(64, 64), mean=(0, 0, 0), std=(1, 1, 1))
    whole = with_preprocessing(model, preprocess)
    scene = pictures(scenes(16, seed=6, shapes=1).images)
    photos = (scene * 255).byte().movedim(1, -1).numpy()
    feeds = [{"image": photo, "target": np.array([-1])} for photo in photos]
    small = session(quantise(whole, [cut_value(whole)], feeds))
    got, exact = run(small, **feeds[0]), run(session(whole), **feeds[0])
    assert np.corrcoef(got["raw"].ravel(), exact["raw"].ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(got["crop"], exact["crop"])
    np.testing.assert_array_equal(got["size"], exact["size"])


def test_a_table_in_the_body_is_kept() -> None:
    model = two_branches()
    large = np.random.default_rng(2).normal(size=(4000, 4)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(large, "large"))
    find = helper.make_node("ArgMax", ["image"], ["row"], axis=1, keepdims=0)
    pick = helper.make_node("Gather", ["large", "row"], ["picked"])
    shape = helper.make_node("Reshape", ["picked", "shape"], ["beside"])
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 4]), "shape"))
    del model.graph.node[2]
    for node in (shape, pick, find):
        model.graph.node.insert(0, node)
    images = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    small = quantise(model, ["activations", "beside"], [{"image": images}])
    got = run(session(small), image=images)
    exact = run(session(model), image=images)
    np.testing.assert_array_equal(got["beside"], large[images.argmax(1)])
    np.testing.assert_allclose(got["logits"], exact["logits"], atol=0.15)


def two_branches() -> onnx.ModelProto:
    """Return a graph whose head reads two values of the body, and the image itself."""
    nodes = [
        helper.make_node("MatMul", ["image", "first"], ["hidden"], name="a"),
        helper.make_node("Relu", ["hidden"], ["activations"], name="b"),
        helper.make_node("Neg", ["image"], ["beside"], name="c"),
        helper.make_node("MatMul", ["activations", "first"], ["scores"], name="d"),
        helper.make_node("Add", ["scores", "hidden"], ["sum"], name="e"),
        helper.make_node("Add", ["sum", "beside"], ["logits"], name="f"),
    ]
    weight = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "two_branches",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])
            for name in ("logits", "activations", "beside")
        ],
        [numpy_helper.from_array(weight, "first")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_the_body_is_what_the_cut_depends_on() -> None:
    model = two_branches()
    assert [node.name for node in body_nodes(model, ["activations"])] == ["a", "b"]
    assert [node.name for node in body_nodes(model, ["beside", "hidden"])] == ["a", "c"]
    with pytest.raises(OptionError) as error:
        body_nodes(model, ["activations", "nothing", "image"])
    assert str(error.value) == (
        "The graph makes no value named 'nothing', 'image'. Name the outputs of the nodes at the "
        "cut."
    )


def test_what_the_head_reads_before_a_relu_is_not_clipped() -> None:
    model = two_branches()  # "hidden" crosses the cut, and is negative at places
    images = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    got = run(session(quantise(model, ["activations"], [{"image": images}])), image=images)
    exact = run(session(model), image=images)
    np.testing.assert_allclose(got["logits"], exact["logits"], atol=0.15)


def test_a_weight_that_the_head_shares_stays_exact_there() -> None:
    model = two_branches()
    images = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    small = quantise(model, ["activations"], [{"image": images}])
    got, exact = run(session(small), image=images), run(session(model), image=images)
    assert 0 < abs(got["activations"] - exact["activations"]).max() < 0.1
    weights = {weight.name: numpy_helper.to_array(weight) for weight in small.graph.initializer}
    shared = numpy_helper.to_array(model.graph.initializer[0])
    np.testing.assert_array_equal(weights["first"], shared)
    assert list(small.graph.node)[-4:] == [node for node in model.graph.node if node.name in "cdef"]


def test_a_calibration_without_images_is_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(OptionError) as error:
        quantise(model, [cut_value(model)], [])
    assert str(error.value) == (
        "There are no images for the calibration of int8. Give some that are like those that the "
        "network will see, a few dozen."
    )
