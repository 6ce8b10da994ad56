"""Plans are filled up to multiples, of which a group's own is one."""

import pytest

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


def test_a_network_of_unknown_size_is_not_large():
    graph = LayerGraph.from_model(networks.build("resnet_b"))
    assert not is_large(graph)
