from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.search.synthetic import chain_graph
from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.head import GroupHead
from tfgraphprune.errors import UserError
from tfgraphprune.search import policy as policies
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
    assert loaded.record == policy.record
    for ours, theirs in zip(
        [*loaded.actor, *loaded.critics[0]], [*policy.actor, *policy.critics[0]], strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    for groups in (1, 5, 40):
        graph = chain_graph(groups, seed=groups)
        action = loaded.action(graph)
        assert action.shape == (groups,) and np.abs(action).max() <= 1
        np.testing.assert_array_equal(action, policy.action(graph))


def test_is_never_overwritten_by_accident(policy, tmp_path):
    policy.save(tmp_path)
    with pytest.raises(UserError, match="holds a policy already: pass overwrite=True"):
        policy.save(tmp_path)
    assert load_policy(tmp_path).hash == policy.hash
    other = replace(policy, actor=[w + 1 for w in policy.actor], record={})
    other.save(tmp_path, overwrite=True)
    loaded = load_policy(tmp_path)
    assert loaded.hash == other.hash != policy.hash and loaded.record == {}


@pytest.mark.parametrize("name", ["actor/000", "critic0/001"])
def test_weights_that_were_changed_are_refused(policy, tmp_path, name):
    policy.save(tmp_path)
    with np.load(tmp_path / "policy.npz") as stored:
        arrays = dict(stored)
    arrays[name] = arrays[name] + 1
    np.savez(tmp_path / "policy.npz", **arrays)
    with pytest.raises(UserError, match="not those that were saved"):
        load_policy(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_folder_without_a_policy_is_refused(policy, tmp_path, content):
    if content is not None:
        (tmp_path / "policy.json").write_text(content)
    with pytest.raises(UserError, match="must be a folder with a saved policy"):
        load_policy(tmp_path)


@pytest.mark.parametrize("damage", ["torn", "changed", "keyless"])
def test_a_damaged_policy_is_refused(policy, tmp_path, damage):
    policy.save(tmp_path)
    weights, settings = tmp_path / "policy.npz", tmp_path / "policy.json"
    content = weights.read_bytes()
    if damage == "torn":
        weights.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        weights.write_bytes(
            content[:200] + bytes(b ^ 0x55 for b in content[200:400]) + content[400:]
        )
    else:
        settings.write_text(settings.read_text().replace('"hidden"', '"width"'))
    with pytest.raises(UserError, match="must be a folder with a saved policy"):
        load_policy(tmp_path)


SIX = chain_graph(4)
OTHERS = {
    "fewer features": chain_graph(4, features=5),
    "features in another order": replace(SIX, feature_names=SIX.feature_names[::-1]),
    "features of other names": replace(SIX, feature_names=tuple("abcdef")),
    "another type of edge": replace(SIX, adjacency=np.zeros((3, 4, 4))),
}


@pytest.mark.parametrize("which", OTHERS)
def test_a_graph_that_it_cannot_read_is_refused(policy, which):
    for ask in (policy.check, policy.action):
        with pytest.raises(UserError, match="6 features and 2 types of edges"):
            ask(OTHERS[which])
    policy.check(SIX)


def test_the_action_follows_from_the_weights_and_the_graph(policy):
    moved = replace(policy, actor=[w + 0.1 for w in policy.actor])
    assert np.abs(moved.action(SIX) - policy.action(SIX)).max() > 1e-2
    assert np.abs(policy.action(chain_graph(4, seed=1)) - policy.action(SIX)).max() > 1e-3
    cut = replace(SIX, adjacency=np.zeros_like(SIX.adjacency))
    assert np.abs(policy.action(cut) - policy.action(SIX)).max() > 1e-3


def test_the_hash_follows_from_all_weights_and_from_them_alone(policy):
    assert replace(policy, record={}, encoder="features").hash == policy.hash
    moved = [policy.critics[0][0] + 1e-3, *policy.critics[0][1:]]
    changes = {"actor": [w + 1e-3 for w in policy.actor], "critics": [moved]}
    assert len({replace(policy, **{k: v}).hash for k, v in changes.items()} | {policy.hash}) == 3


def test_the_policy_that_comes_with_the_package():
    folder = Path(policies.__file__).parent / "pretrained"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1e6
    networks = [name.split("@")[0] for name in load_policy("pretrained").record["trained_on"]]
    assert len(networks) >= 8
    for unseen in ("resnet56", "vgg16_bn", "mobilenet_v2"):
        assert not [name for name in networks if name.startswith(unseen)]
