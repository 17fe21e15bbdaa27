import pytest
import torch

import superpose


def test_info_names_versions_devices_and_implementations():
    info = superpose.info()
    assert info.versions["superpose"] == superpose.__version__
    assert "cpu" in info.devices
    table = str(info).splitlines()
    assert table[0].split() == ["superpose", superpose.__version__]
    assert table[-1].endswith("reference (plain PyTorch)")
    assert len({line.index(line.split()[1]) for line in table if line}) == 1


def test_an_implementation_asked_for_by_name_runs_or_raises():
    model, x = superpose.KAN((2, 1), superpose.BSpline(degree=5)), torch.zeros(3, 2)
    with superpose.using(bspline_linear="reference"):
        assert [decision.implementation for decision in superpose.which(model, x)] == ["reference"]
    with superpose.using(bspline_linear="native"), pytest.raises(RuntimeError, match=r"native.*cannot run here"):
        model(x)
    with pytest.raises(ValueError, match="there is no bspline_linear='fast'"), superpose.using(bspline_linear="fast"):
        pass
