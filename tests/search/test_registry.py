"""Methods are checked by name, before any long work."""

import pytest

from tfgraphprune.errors import MissingExtraError, UserError
from tfgraphprune.search import registry
from tfgraphprune.search.checks import check_search
from tfgraphprune.search.registry import SEARCHERS, SearcherEntry, require
from tfgraphprune.settings import Search


def missing(legacy):
    return SearcherEntry("no.such.module", "Search", "no_such_package", "no-such", "search", legacy)


CASES = [
    (None, False, UserError, r"must be one of sac, .*uniform, random.*, not 'method'"),
    (None, True, UserError, r"must be one of sac, .*, not 'method'"),
    (missing(False), False, MissingExtraError, r"'method' .*no-such"),
    # Where the method runs in a process of its own, nothing of it is imported here.
    (missing(True), True, MissingExtraError, r"'method' .*no-such"),
    (SearcherEntry("no.such.module", "Search", "json", legacy=True), True, None, ""),
    (SearcherEntry("tests.search.synthetic", "WalkSearch"), True, None, ""),
    (SearcherEntry("no.such.module", "Search", legacy=True), True, None, ""),
]


@pytest.mark.parametrize(("entry", "keras_3", "error", "message"), CASES)
def test_a_method_is_required_wherever_it_will_run(monkeypatch, entry, keras_3, error, message):
    monkeypatch.setattr(registry, "serves_tf_keras", lambda: not keras_3)
    if entry is not None:
        monkeypatch.setitem(SEARCHERS, "method", entry)
    if error is None:
        require("method")
        return
    with pytest.raises(error, match=message):
        require("method")


@pytest.mark.parametrize(
    ("agent", "options", "message"),
    [
        ("sac", {"encoder": "gat"}, "the encoder must be one of multi_stage, gcn"),
        ("ppo", {"encoder": "gat"}, "the encoder must be one of"),
        ("ddpg", {"bounding": "fence"}, "bounding must be one of wall, projection"),
        ("sac_sequential", {"bounding": "fence"}, "bounding must be one of"),
    ],
)
def test_options_are_refused_before_anything_is_made(agent, options, message, digits_model):
    pytest.importorskip("tf_agents")
    with pytest.raises(UserError, match=message):
        check_search(Search(agent=agent, options=options), digits_model)
