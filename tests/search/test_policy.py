import json

import numpy as np
import pytest

from tests.search.synthetic import chain_graph
from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.head import GroupHead
from tfgraphprune.errors import UserError
from tfgraphprune.search.policy import Policy, load_policy


@pytest.fixture(scope="module")
def policy():
    graph = chain_graph(5)
    head = GroupHead(GraphBank([graph]), "gcn", 8, 1, seed=3, units=2)
    head(graph.features[None], np.zeros(1, np.int32))
    return Policy(
        "gcn", 8, 1, graph.feature_names, len(graph.adjacency), head.get_weights(),
        [head.get_weights()[:3]], {"trained_on": {"a": {"best": 0.5}}},
    )  # fmt: skip


def test_comes_back_as_it_was_saved(policy, tmp_path):
    policy.save(tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert loaded.shape == policy.shape and loaded.hash == policy.hash
    assert loaded.record == policy.record and len(loaded.critics) == 1
    for groups in (1, 5, 40):
        graph = chain_graph(groups, seed=groups)
        action = loaded.action(graph)
        assert action.shape == (groups,) and np.abs(action).max() <= 1
        np.testing.assert_array_equal(action, policy.action(graph))


def test_is_never_overwritten_by_accident(policy, tmp_path):
    policy.save(tmp_path)
    with pytest.raises(UserError, match="holds a policy already: pass overwrite=True"):
        policy.save(tmp_path)
    policy.save(tmp_path, overwrite=True)


def test_weights_that_were_changed_are_refused(policy, tmp_path):
    policy.save(tmp_path)
    with np.load(tmp_path / "policy.npz") as stored:
        arrays = dict(stored)
    arrays["actor/000"] = arrays["actor/000"] + 1
    np.savez(tmp_path / "policy.npz", **arrays)
    with pytest.raises(UserError, match="not those that were saved"):
        load_policy(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_folder_without_a_policy_is_refused(policy, tmp_path, content):
    if content is not None:
        (tmp_path / "policy.json").write_text(content)
    with pytest.raises(UserError, match="must be a folder with a saved policy"):
        load_policy(tmp_path)


def test_a_graph_with_other_features_is_refused(policy):
    with pytest.raises(UserError, match="6 features and 2 types of edges"):
        policy.action(chain_graph(4, features=5))


def test_the_hash_follows_from_the_weights_alone(policy, tmp_path):
    content = json.dumps(policy.record)
    other = Policy(
        *policy.shape, policy.feature_names, policy.relations,
        [w + 1e-3 for w in policy.actor], policy.critics,
    )  # fmt: skip
    assert other.hash != policy.hash and content
