"""A trained policy, apart from any network: saved, loaded, asked for a plan."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.embedding.group_graph import GroupGraph
from tfgraphprune.errors import UserError

_SETTINGS, _WEIGHTS = "policy.json", "policy.npz"
_KNOWN = ("encoder", "hidden", "layers", "feature_names", "relations")


@dataclass(frozen=True, eq=False)
class Policy:
    """What SAC learned: weights of networks that fit any graph.

    Attributes:
        encoder: a name in `ENCODERS`.
        hidden: width.
        layers: depth.
        feature_names: the features of a group that it reads.
        relations: number of types of edges.
        actor: the actor's weights.
        critics: the critics' weights, for searches that start from the policy; may be empty.
        record: what else is known of it, such as the networks that it was trained on.
    """

    encoder: str
    hidden: int
    layers: int
    feature_names: tuple[str, ...]
    relations: int
    actor: list[np.ndarray]
    critics: list[list[np.ndarray]]
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[str, int, int]:
        """Encoder, width and depth."""
        return self.encoder, self.hidden, self.layers

    @property
    def hash(self) -> str:
        """SHA-256 of all weights."""
        digest = hashlib.sha256()
        for array in self._arrays().values():
            digest.update(np.ascontiguousarray(array, np.float32).tobytes())
        return digest.hexdigest()

    def action(self, graph: GroupGraph) -> np.ndarray:
        """The most likely action for a network; float32 `[G]` in [-1, 1].

        Raises:
            UserError: the graph has other features than those that the policy was trained on.
        """
        # Spektral needs tf.keras to be tf_keras; a policy itself doesn't.
        from tfgraphprune.embedding.bank import GraphBank
        from tfgraphprune.embedding.head import GroupHead

        self.check(graph)
        head = GroupHead(GraphBank([graph]), *self.shape, seed=0, units=2)
        features = tf.constant(graph.features[None])
        number = tf.zeros([1], tf.int32)
        head(features, number)
        head.set_weights(self.actor)
        return np.tanh(bounded_mean(head(features, number)[0, :, 0], graph.guess).numpy())

    def check(self, graph: GroupGraph) -> None:
        """Whether the policy can read a graph.

        Raises:
            UserError: it can't.
        """
        if graph.feature_names != tuple(self.feature_names) or len(graph.adjacency) != (
            self.relations
        ):
            raise UserError(
                f"the policy reads {len(self.feature_names)} features and {self.relations} types "
                "of edges that are not those of this version: train it again."
            )

    def save(self, folder: str | os.PathLike, overwrite: bool = False) -> None:
        """Write the policy into a folder: `policy.json` and `policy.npz`.

        Raises:
            UserError: there is a policy already, and it is not to be overwritten.
        """
        path = Path(folder)
        if (path / _SETTINGS).exists() and not overwrite:
            raise UserError(f"{path} holds a policy already: pass overwrite=True to replace it.")
        path.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path / _WEIGHTS, **self._arrays())  # type: ignore[arg-type]
        content = {
            "encoder": self.encoder,
            "hidden": self.hidden,
            "layers": self.layers,
            "feature_names": list(self.feature_names),
            "relations": self.relations,
            "hash": self.hash,
            **self.record,
        }
        (path / _SETTINGS).write_text(json.dumps(content, indent=1) + "\n")

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"actor/{i:03}": w for i, w in enumerate(self.actor)}
        for number, critic in enumerate(self.critics):
            arrays |= {f"critic{number}/{i:03}": w for i, w in enumerate(critic)}
        return arrays


_MEAN_BOUND = 2.5
_GUESS_BOUND = 0.95


def bounded_mean(outputs: tf.Tensor, guess: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Means of actions before tanh squashes them: where the outputs are 0, those of the guess.

    Residual policy learning (Silver et al., 2018, arXiv 1812.06298): what is learned is how far to
    depart from a plan that is sensible by itself. Means lie in (-2.5, 2.5), where the gradient of
    tanh does not vanish.

    Args:
        outputs: of the actor, float32.
        guess: actions, of a shape that broadcasts to that of the outputs.
    """
    start = tf.atanh(tf.clip_by_value(guess, -_GUESS_BOUND, _GUESS_BOUND))
    return _MEAN_BOUND * tf.tanh(tf.atanh(start / _MEAN_BOUND) + outputs / _MEAN_BOUND)


def load_policy(folder: str | os.PathLike | Policy) -> Policy:
    """Read a policy that `Policy.save` wrote.

    Args:
        folder: where it is; `"pretrained"` for the one that comes with the package. A policy is
            handed back as it is.

    Raises:
        UserError: there is none, or it was changed since.
    """
    if isinstance(folder, Policy):
        return folder
    path: Any = folder
    try:
        path = Path(__file__).parent / "pretrained" if folder == "pretrained" else Path(folder)
        content = json.loads((path / _SETTINGS).read_text())
        with np.load(path / _WEIGHTS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in sorted(stored.files)}
        settings = {name: content[name] for name in _KNOWN}
        hash_ = content["hash"]
    except (OSError, TypeError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} must be a folder with a saved policy ({_SETTINGS} and {_WEIGHTS}), but can't "
            f"be read ({error}): give one that policy.save wrote."
        ) from error
    critics: dict[str, list[np.ndarray]] = {}
    for name, array in arrays.items():
        critics.setdefault(name.split("/")[0], []).append(array)
    actor = critics.pop("actor", [])
    policy = Policy(
        **settings,
        actor=actor,
        critics=list(critics.values()),
        record={k: v for k, v in content.items() if k not in (*_KNOWN, "hash")},
    )
    if policy.hash != hash_:
        raise UserError(f"the weights in {path} are not those that were saved: restore the folder.")
    return policy
