"""Pruned == masked on random architectures."""

from hypothesis import assume, given, settings

from tests import random_networks


@given(random_networks.models())
@settings(max_examples=45)
def test_pruned_equals_masked_on_random_networks(network):
    outcome = random_networks.check(network)
    assert outcome.errors == []
    assume(outcome.cut >= random_networks.CUT)  # with many groups of one channel, it can't be
    assume(outcome.dead < outcome.outputs)
