"""TFLite files of single operators compute what TensorFlow's operators do."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfgraphprune.tflite.operators import Operator, operator_file

CASES = [
    Operator("conv", 9, 7, 6, 10, (3, 3), (2, 1), (1, 1), "same"),
    Operator("conv", 9, 9, 6, 10, (3, 1), (1, 1), (2, 2), "valid"),
    Operator("conv", 8, 8, 12, 6, (3, 3), (1, 1), (1, 1), "same", blocks=3),
    Operator("depthwise", 9, 8, 6, 6, (5, 5), (2, 2), (1, 1), "same"),
    Operator("depthwise", 9, 8, 3, 6, (3, 3)),
    Operator("dense", 1, 4, 12, 5),
    Operator("add", 5, 4, 7, 7),
]


def _wanted(o, x, kernel):
    padding = o.padding.upper()
    if o.kind == "add":
        return x[0] + x[1]
    if o.kind == "dense":
        return x[0] @ kernel.T
    if o.kind == "depthwise":
        kernel = kernel.reshape(*o.kernel, o.inputs, -1)
        return tf.nn.depthwise_conv2d(x[0], kernel, (1, *o.strides, 1), padding).numpy()
    kernel = kernel.transpose(1, 2, 3, 0)
    return tf.nn.conv2d(x[0], kernel, o.strides, padding, dilations=o.dilations).numpy()


@pytest.mark.parametrize("operator", CASES, ids=lambda o: f"{o.kind}_{o.kernel}_{o.blocks}")
def test_computes_its_operator(operator):
    interpreter = Interpreter(
        model_content=operator_file(operator), experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    random = np.random.default_rng(1)
    given = []
    for details in interpreter.get_input_details():
        given.append(random.normal(size=details["shape"]).astype(np.float32))
        interpreter.set_tensor(details["index"], given[-1])
    interpreter.invoke()
    kernel = None
    for details in interpreter.get_tensor_details():
        if details["name"] == "w":
            kernel = interpreter.get_tensor(details["index"])
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    wanted = _wanted(operator, given, kernel)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    if operator.kind != "dense":
        assert found.shape == operator.shape
    if operator.kind != "add":
        assert operator.macs == found.size * kernel.size // operator.outputs
