"""Plans are filled up to multiples, of which a group's own is one."""

import pytest
import tf_keras as keras

from tests import networks
from tfgraphprune.graph import LayerGraph
from tfgraphprune.pruning.filling import filled_up, is_large


@pytest.mark.parametrize(
    ("step", "multiple", "counts"),
    [(1, 4, {2: 4, 4: 4, 5: 8}), (2, 4, {2: 4, 6: 8}), (3, 4, {3: 12, 12: 12}), (1, 1, {5: 5})],
)
def test_up_to_a_multiple_or_the_whole_group(step, multiple, counts):
    graph = LayerGraph.from_model(networks.resnet("B", widths=(16, 16, 16)), channel_multiple=step)
    for count, wanted in counts.items():
        kept = {group.name: range(16 - count, 16) for group in graph.prunable_groups}
        for name, wide in filled_up(graph, kept, multiple).items():
            assert set(kept[name]) <= set(wide) and len(wide) == wanted
    assert filled_up(graph, {}, multiple) == {}


@pytest.mark.parametrize(("size", "found"), [(128, True), (8, False), (None, False)])
def test_a_network_of_unknown_size_is_not_large(size, found):
    x = start = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(32, 3)(x)
    model = keras.Model(start, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(x)))
    assert is_large(LayerGraph.from_model(model)) is found
