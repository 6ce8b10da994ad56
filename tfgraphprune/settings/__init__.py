"""Budget, Search, FineTune and Schedule: what a user asks for, checked as soon as written down."""

from tfgraphprune.settings.budget import LIMITS, Budget
from tfgraphprune.settings.finetune import RECOVERIES, FineTune
from tfgraphprune.settings.schedule import Schedule
from tfgraphprune.settings.search import Search

__all__ = ["LIMITS", "RECOVERIES", "Budget", "FineTune", "Schedule", "Search"]
