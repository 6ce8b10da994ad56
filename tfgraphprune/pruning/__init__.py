"""CUT: plan, importance criteria, masking, BatchNorm re-estimation and surgery."""

from tfgraphprune.pruning.batchnorm import reestimate_batchnorm
from tfgraphprune.pruning.masking import masked
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.surgery import prune

__all__ = ["PruningPlan", "masked", "prune", "reestimate_batchnorm"]
