"""Kolmogorov-Arnold networks in PyTorch: fit a table, get a function you can trust.

The names below are all most programs need. They are imported when first used, so that `import superpose` costs nothing
and brings in no optional package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superpose._select import info as info
    from superpose._select import using as using
    from superpose._select import which as which
    from superpose.bases import BeamModes as BeamModes
    from superpose.bases import Bernstein as Bernstein
    from superpose.bases import BSpline as BSpline
    from superpose.bases import Chebyshev as Chebyshev
    from superpose.bases import Fourier as Fourier
    from superpose.bases import Gaussian as Gaussian
    from superpose.bases import Legendre as Legendre
    from superpose.bases import Wavelet as Wavelet
    from superpose.estimators import KANClassifier as KANClassifier
    from superpose.estimators import KANRegressor as KANRegressor
    from superpose.estimators import KANSymbolicRegressor as KANSymbolicRegressor
    from superpose.fitting import fit as fit
    from superpose.grids import move_grid as move_grid
    from superpose.grids import refine as refine
    from superpose.layers import KANLinear as KANLinear
    from superpose.models import KAN as KAN
    from superpose.models import MLP as MLP
    from superpose.plotting import plot as plot
    from superpose.pruning import prune as prune
    from superpose.scores import attribute as attribute
    from superpose.storage import load as load
    from superpose.storage import save as save
    from superpose.symbolic import formula as formula

__version__ = "0.1.0"

_HOME = {
    "bases": ["BSpline", "Bernstein", "Gaussian", "Chebyshev", "Legendre", "Fourier", "Wavelet", "BeamModes"],
    "layers": ["KANLinear"],
    "models": ["KAN", "MLP"],
    "fitting": ["fit"],
    "grids": ["refine", "move_grid"],
    "scores": ["attribute"],
    "pruning": ["prune"],
    "plotting": ["plot"],
    "storage": ["save", "load"],
    "symbolic": ["formula"],
    "estimators": ["KANRegressor", "KANClassifier", "KANSymbolicRegressor"],
    "_select": ["info", "which", "using"],
}

__all__ = [*(name for names in _HOME.values() for name in names), "__version__"]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            globals()[name] = value = getattr(import_module(f"superpose.{module}"), name)
            return value
    raise AttributeError(f"module 'superpose' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
