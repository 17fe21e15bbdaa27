"""Networks within a search."""

from types import SimpleNamespace

import numpy as np
import pytest

from superpose.symbolic import networks
from superpose.symbolic.functions import chosen


@pytest.mark.as_shipped
@pytest.mark.parametrize("where", ["fit", "formula"])
def test_ctrl_c_in_a_network_ends_the_whole_search(where, monkeypatch):
    """Fits and fronts keep what they have when they are interrupted, so the search has to look."""
    x = np.random.default_rng(0).uniform(-1, 1, (40, 2))
    ordinary = getattr(networks, where)

    def interrupted(*args, **options):
        return SimpleNamespace(
            stopped="interrupted", model=ordinary(*args, **options).model if where == "fit" else None
        )

    monkeypatch.setattr(networks, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        networks.read_network(x, x.sum(1), (2, 1), chosen(["x^2"]), 0, 2.0)
