"""The pruned architecture from random weights: the baselines that every claim needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.cost.counting import count_macs
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.training.recoveries.base import Recovered, RecoveryCase


def scratch_e(case: RecoveryCase) -> Recovered:
    """Train the pruned architecture from random weights for equally many epochs.

    Scratch-E of Liu et al., "Rethinking the Value of Network Pruning", ICLR 2019. The paper has no
    teacher; here the dense network is one, as for the other recoveries, unless `distill` is off.
    """
    return case.train(_fresh(case))


def scratch_b(case: RecoveryCase) -> Recovered:
    """Likewise for as much compute: epochs times the MACs of the dense by those of the pruned.

    Scratch-B of Liu et al., "Rethinking the Value of Network Pruning", ICLR 2019.
    """
    small = _fresh(case)
    ratio = count_macs(case.graph.model) / max(1, count_macs(small))
    return case.train(small, round(case.settings.epochs * ratio))


def _fresh(case: RecoveryCase) -> Any:
    small = prune(case.graph.model, case.plan)
    redraw(small, case.seed)
    return small


def redraw(model: Any, seed: int) -> None:
    """Give every weight of a tf_keras model a new value by its layer's initializer.

    Trainable weights without an initializer that Keras shows (those of custom layers) are drawn as
    by Glorot and Bengio, AISTATS 2010, if they have two axes or more, and become 0 otherwise.
    Others without one, such as the statistics of a `Normalization`, stay, and so do layers that are
    not trainable, which no training would bring further.

    Args:
        model: changed in place.
        seed: the same seed gives the same weights.
    """
    random = np.random.Generator(np.random.Philox(seed))
    initializers: dict[int, Any] = {}
    frozen, gated = set[int](), set[int]()
    for layer in model._flatten_layers():
        if not layer.trainable:
            frozen |= {id(weight) for weight in layer.weights}
        for name, value in vars(layer).items():
            if isinstance(value, tf.Variable):
                short = name.removesuffix("_kernel")
                found = getattr(layer, f"{name}_initializer", None)
                initializers[id(value)] = found or getattr(layer, f"{short}_initializer", None)
                if name == "bias" and getattr(layer, "unit_forget_bias", False):
                    gated.add(id(value))
    for variable in model.weights:
        initializer, number = initializers.get(id(variable)), int(random.integers(2**31))
        drawn = variable.trainable or initializer is not None
        if not variable.dtype.is_floating or not drawn or id(variable) in frozen:
            continue
        value = np.array(_drawn(initializer, variable, number))
        if id(variable) in gated:  # an LSTM's, whose second quarter is the forget gate's
            value.reshape(4, -1)[1] = 1
        variable.assign(value)


def _drawn(initializer: Any, variable: Any, seed: int) -> Any:
    if initializer is None:
        known = keras.initializers
        initializer = known.GlorotUniform() if len(variable.shape) > 1 else known.Zeros()
    config = initializer.get_config() if hasattr(initializer, "get_config") else {}
    if "seed" in config:
        initializer = type(initializer).from_config({**config, "seed": seed})
    return initializer(variable.shape, dtype=variable.dtype)
