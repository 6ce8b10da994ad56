"""The encoders by name. A new one is a `GraphEncoder` and one line here."""

from __future__ import annotations

from tfgraphprune.embedding.attention import AttentionEncoder
from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoder import GraphEncoder
from tfgraphprune.embedding.recurrent import RecurrentEncoder
from tfgraphprune.embedding.relational import (
    FeaturesEncoder,
    MultiStageEncoder,
    RandomEncoder,
    RelationalEncoder,
)
from tfgraphprune.errors import UserError

ENCODERS: dict[str, type[GraphEncoder]] = {
    "multi_stage": MultiStageEncoder,
    "gcn": RelationalEncoder,
    "gcn_lstm": RecurrentEncoder,
    "attention": AttentionEncoder,
    "features": FeaturesEncoder,
    "random": RandomEncoder,
}


def check_encoder(name: str) -> None:
    """Refuse a name that is none.

    Raises:
        UserError: no such encoder.
    """
    if name not in ENCODERS:
        raise UserError(f"the encoder must be one of {', '.join(ENCODERS)}, not {name!r}.")


def encoder_of(name: str, bank: GraphBank, hidden: int, layers: int, seed: int) -> GraphEncoder:
    """An encoder for a bank of graphs.

    Raises:
        UserError: no such encoder.
    """
    check_encoder(name)
    return ENCODERS[name](bank, hidden, layers, seed, name="encoder")
