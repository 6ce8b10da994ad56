"""Users' own rules for their own layers."""

import numpy as np
import pytest
import tf_keras as keras

import tfgraphprune as tgp
from tests import networks

L = keras.layers


class Scale(L.Layer):
    """A factor for each channel."""

    def __init__(self, channels, **settings):
        super().__init__(**settings)
        self.channels = channels
        self.factor = self.add_weight(name="factor", shape=(channels,), initializer="ones")

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


class Unregistered(Scale):
    """A subclass needs a rule of its own."""

    def call(self, inputs):
        return inputs * self.factor[::-1]


@tgp.register_layer_rule(Scale)
class ScaleRule(tgp.LayerRule):
    """The rule that README shows."""

    def trace(self, tracer, inputs):
        ids = tracer.channels(inputs[0])
        tracer.weight(tracer.call.layer.factor, {0: ("through", ids)})
        tracer.setting("channels", ids)
        return inputs


def _model(layer):
    keras.backend.clear_session()
    return networks.randomise(
        networks.image_model(lambda x: L.Conv2D(5, 1)(layer(L.Conv2D(6, 3, name="made")(x))))
    )


def test_a_registered_layer_is_cut():
    model = _model(Scale(6))
    graph = tgp.LayerGraph.from_model(model)
    plan = tgp.PruningPlan.from_indices(graph, {"made": [0, 3, 4]})
    small, x = tgp.prune(model, plan), networks.inputs_for(model)
    assert next(layer for layer in small.layers if isinstance(layer, Scale)).channels == 3
    (a,), (b,) = (networks.outputs_of(m, x) for m in (tgp.masked(model, plan), small))
    np.testing.assert_allclose(a, b, atol=1e-4 * a.std())


def test_a_subclass_is_not_taken_for_a_registered_layer():
    group = tgp.LayerGraph.from_model(_model(Unregistered(6, name="own"))).group("made")
    assert group.reason == "own: no rule for Unregistered"


@pytest.mark.parametrize(
    ("layer", "rule", "says"),
    [("Scale", ScaleRule, "takes a Keras layer class"), (Scale, Scale, "subclass of LayerRule")],
)
def test_what_is_no_layer_or_no_rule_is_refused(layer, rule, says):
    with pytest.raises(tgp.UserError, match=says):
        tgp.register_layer_rule(layer)(rule)
