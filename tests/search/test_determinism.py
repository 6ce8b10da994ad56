import pytest
from tensorflow.python.framework import config

from tfgraphprune.search.determinism import deterministic_ops


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_restores_what_was_before_even_after_an_error(before, inside):
    with deterministic_ops(before):
        with pytest.raises(KeyError), deterministic_ops(inside):
            assert config.is_op_determinism_enabled() == inside
            raise KeyError
        assert config.is_op_determinism_enabled() == before
