"""Which operations of a TFLite file the kernels of a profile stand for: matched in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MATRIX = ("convolution", "fullyconnected", "deconvolution", "batchmatrixmultiply")
_KERNELS = {
    "CONV_2D": _MATRIX,  # a 1x1 convolution runs as a fully connected layer
    "DEPTHWISE_CONV_2D": ("convolution",),
    "FULLY_CONNECTED": _MATRIX,
    "TRANSPOSE_CONV": ("deconvolution", "convolution"),
    "BATCH_MATMUL": _MATRIX,
    "ADD": ("add",),
    "SUB": ("subtract",),
    "MUL": ("multiply",),
    "DIV": ("divide",),
    "LOGISTIC": ("sigmoid", "invalidunary", "lookup"),
    "TANH": ("tanh", "invalidunary", "lookup"),
    "HARD_SWISH": ("hardswish", "invalidunary"),
    "MEAN": ("mean", "globalaverage", "reduce"),
    "SUM": ("sum", "globalsum", "reduce"),
    "AVERAGE_POOL_2D": ("averagepooling",),
    "MAX_POOL_2D": ("maxpooling",),
    "QUANTIZE": ("convert",),
    "DEQUANTIZE": ("convert",),
    "CONCATENATION": ("concat", "copy"),
    "PAD": ("constantpad", "pad"),
    "RESHAPE": ("reshape", "copy"),
    "SOFTMAX": ("softmax",),
}
_COSTLY = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")


def align(kernels: Sequence[str], operations: Sequence[str]) -> list[int] | None:
    """The operation, by position, that each kernel belongs to.

    Both run in the same order, but an operation may take several kernels, or none where it was
    fused: as many as possible are paired, in order, and kernels without a partner go to the next
    paired one.

    Args:
        kernels: names of XNNPACK's kernels or of TFLite's own, in the order of the profile.
        operations: names of the file's operations, in theirs.

    Returns:
        None where a convolution or product of matrices would have no kernel, so that nothing is
        claimed.
    """
    rows, columns = len(kernels), len(operations)
    fits = [[_fits(kernel, operation) for operation in operations] for kernel in kernels]
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            paired = best[i + 1][j + 1] + 1 if fits[i][j] else 0
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
    pairs: dict[int, int] = {}
    i = j = 0
    while i < rows and j < columns:
        if fits[i][j] and best[i][j] == best[i + 1][j + 1] + 1:
            pairs[i], i, j = j, i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    missed = set(range(columns)) - set(pairs.values())
    if not pairs or any(operations[each] in _COSTLY for each in missed):
        return None
    found = [pairs.get(each, -1) for each in range(rows)]
    following = max(found)
    for each in range(rows - 1, -1, -1):
        found[each] = following = found[each] if found[each] >= 0 else following
    return found


def _fits(kernel: str, operation: str) -> bool:
    if kernel == operation:
        return True
    plain = re.sub(r"[^a-z]", "", kernel.lower())
    known = _KERNELS.get(operation, (operation.replace("_", "").lower(),))
    return any(plain.startswith(each) for each in known)
