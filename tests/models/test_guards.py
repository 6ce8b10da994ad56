"""Names that must not depend on the process."""

import tfgraphprune as tgp
from tfgraphprune.models import resnet_cifar


def test_a_plan_fits_the_same_network_built_again():
    first, second = resnet_cifar(8), resnet_cifar(8)
    plan = tgp.PruningPlan.from_keep_ratios(tgp.LayerGraph.from_model(first), 0.5)
    assert tgp.count_macs(tgp.prune(second, plan)) < tgp.count_macs(second)
