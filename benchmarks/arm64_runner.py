"""Runs a TFLite file on inputs: the part of benchmarks/arm64.py that an emulator executes.

python3 arm64_runner.py PACKAGES MODEL INPUTS OUTPUTS plain|xnnpack
"""

import sys

sys.path.insert(0, sys.argv[1])

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def main(model, inputs, outputs, kernels):
    """Write the first output for each example."""
    kind = OpResolverType.AUTO
    if kernels == "plain":
        kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    start = interpreter.get_input_details()[0]["index"]
    end = interpreter.get_output_details()[0]["index"]
    results = []
    for example in np.load(inputs):
        interpreter.set_tensor(start, example[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(end)[0])
    np.save(outputs, np.stack(results))


if __name__ == "__main__":
    main(*sys.argv[2:])
