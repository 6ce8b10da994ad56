"""Rules of attention: whole heads are cut; products of activations keep what they sum over."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfgraphprune.graph.labels import Kept, Labels, per_channel
from tfgraphprune.graph.reader import Call, output_shapes
from tfgraphprune.graph.rules.base import LayerRule, layer_rule, product
from tfgraphprune.graph.tracer import CallTracer


class MultiHeadAttention(LayerRule):
    """Keras' MultiHeadAttention: a head is cut from all projections at once.

    Michel et al., "Are Sixteen Heads Really Better than One?", NeurIPS 2019.
    """

    takes_constants = True

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Query, key and value projections make heads; the output projection reads them."""
        call, layer = tracer.call, tracer.call.layer
        labels = {id(t): found for t, found in zip(call.inputs, inputs, strict=True)}
        named = call.named_arguments()
        arguments = {name: labels.get(id(t)) for name, t in named.items()}
        query, value = arguments["query"], arguments["value"]
        key = arguments.get("key") or value
        mask = arguments.get("attention_mask")
        if query is None or value is None or key is None or {query.rank, value.rank} != {2}:
            return tracer.opaque(inputs, "attends over several axes")
        steps, sources = query.shape[0], value.shape[0]
        heads = tracer.new_ids(layer._num_heads)
        tracer.setting("num_heads", heads)
        if mask is not None:
            tracer.freeze(mask, "is an attention mask")
        given: Any = named.get("attention_mask")
        shape = np.shape(given)[1:] if mask is None else mask.shape
        if len(shape) > 2 and shape[0] != 1:
            tracer.freeze(heads, "has a mask for each head")
        for dense, read, uses in (
            (layer._query_dense, query, steps),
            (layer._key_dense, key, sources),
            (layer._value_dense, value, sources),
        ):
            ids = tracer.channels(read)
            tracer.weight(dense.kernel, {0: ("in", ids), 1: ("out", heads)}, uses)
            tracer.weight(dense.bias, {0: ("out", heads)})
        dense = layer._output_dense
        shapes = output_shapes(call)
        made = tracer.new_ids(shapes[0][-1] or 1)
        if len(dense.kernel.shape) == 3:
            tracer.weight(dense.kernel, {0: ("in", heads), 2: ("out", made)}, steps)
            tracer.weight(dense.bias, {0: ("out", made)})
        else:
            tracer.weight(dense.kernel, {0: ("in", heads)}, steps)
            tracer.freeze(made, "makes several axes of channels")
        each = layer._key_dim + layer._value_dim
        tracer.product(heads, product([steps, sources, each]))
        outputs = [per_channel(made, shapes[0])]
        if len(shapes) > 1:  # the scores are asked for as well
            outputs.append(per_channel(heads, shapes[1], 0))
        return outputs

    def config(self, call: Call, outputs: list[Labels], kept: Kept) -> dict[str, Any]:
        """The size of the output, which would be the query's."""
        single = len(call.layer._output_dense.kernel.shape) == 3
        return {"output_shape": kept.shape(outputs[0])[-1:]} if single else {}


class Contraction(LayerRule):
    """A product of two activations that sums over an axis, as `tf.matmul` and `tf.einsum`.

    What is summed over must stay whole: its channels are united, so that they go together with
    the entries of the result that they make (for attention: a head).
    """

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Unite what meets in one entry of the result."""
        call, shape = tracer.call, output_shapes(tracer.call)[0]
        terms = self._terms(call, inputs)
        if terms is None or len(inputs) != 2:
            return tracer.opaque(inputs, "is a product that can't be followed")
        (left, right), result = terms
        places = []
        for labels, letters in zip(inputs, (left, right), strict=True):
            ids = labels.ids
            for axis in reversed(range(len(letters))):
                if letters[axis] not in result:
                    tracer.unite(ids, ids.take([0], axis))
                    ids = ids.take(0, axis)
            order = [result.index(letter) for letter in letters if letter in result]
            wide = [1] * len(result)
            for size, place in zip(ids.shape, order, strict=True):
                wide[place] = size
            places.append(ids.transpose(np.argsort(order)).reshape(wide))
        tracer.unite(*places)
        labels = Labels(np.broadcast_arrays(*places)[0], shape)
        summed = [
            n for n, letter in zip(inputs[0].shape, left, strict=True) if letter not in result
        ]
        uses = product([*shape, *summed])
        varying = labels.varying(tracer.union)
        if not varying:
            tracer.fixed_product(uses)
            return tracer.opaque(inputs, "multiplies activations by activations")
        ids = labels.along(varying[-1])
        tracer.product(ids, None if uses is None else uses // len(ids))
        return [tracer.rectangular(labels)]

    @staticmethod
    def _terms(call: Call, inputs: list[Labels]) -> tuple[tuple[str, str], str] | None:
        """A letter for each axis but the batch, of both inputs and of the result."""
        if "einsum" in call.layer.symbol:
            equation = str(call.argument(0, "equation")).replace(" ", "")
            if "->" not in equation or "." in equation or equation.count(",") != 1:
                return None
            sources, result = equation.split("->")
            left, right = sources.split(",")
            if not left[0] == right[0] == result[0]:
                return None
            return (left[1:], right[1:]), result[1:]
        ranks = {labels.rank for labels in inputs}
        if len(ranks) != 1 or min(ranks) < 2:
            return None
        outer = "abcdefgh"[: ranks.pop() - 2]
        left = outer + ("km" if call.argument(2, "transpose_a", False) else "mk")
        right = outer + ("nk" if call.argument(3, "transpose_b", False) else "kn")
        return (left, right), outer + "mn"


layer_rule(["MultiHeadAttention"], MultiHeadAttention())
layer_rule(["tf.linalg.matmul", "tf.matmul", "tf.einsum"], Contraction())
