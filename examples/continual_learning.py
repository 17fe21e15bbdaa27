"""Learn from data that come in parts, without forgetting the earlier ones.

Five peaks are shown one after the other. A spline changes only where its data are, so a network with fine, fixed grids
keeps what it learned elsewhere. Four things make that work, and each is a line below:

- fix the units and the grids before the first part: the inputs lie in [-1, 1], where the grids of a new network lie;
- `move=False`, so that `fit` leaves both as they are;
- no base function, since it acts everywhere at once (its weights are zero and stay so);
- `solver="adam"` or "lbfgs": a coefficient that no point feels has no gradient, and stays.

    python examples/continual_learning.py
"""

import torch

from superpose import KAN, BSpline, fit

CENTRES = (-0.8, -0.4, 0.0, 0.4, 0.8)


def peaks(x: torch.Tensor) -> torch.Tensor:
    """Five narrow bells in a row."""
    return sum(torch.exp(-300 * (x - centre).square()) for centre in CENTRES)


def error(model: KAN, x: torch.Tensor) -> float:
    """Root mean squared error on some points."""
    with torch.no_grad():
        return float((model(x) - peaks(x)).square().mean().sqrt())


def main(steps: int = 500) -> None:
    """Show the peaks one after the other, and print the error on each, then and at the end."""
    model = KAN((1, 1), BSpline(intervals=200), generator=torch.Generator().manual_seed(0)).double()
    for layer in model.layers:
        layer.weight.requires_grad_(requires_grad=False).zero_()
        torch.nn.init.zeros_(layer.coef)
    parts = [torch.linspace(c - 0.2, c + 0.2, 100, dtype=torch.float64).unsqueeze(1) for c in CENTRES]
    then = []
    for x in parts:
        model = fit(model, x, peaks(x), solver="adam", max_iter=steps, move=False).model
        then.append(error(model, x))
    for centre, x, first in zip(CENTRES, parts, then, strict=True):
        print(f"peak at {centre:4.1f}: RMSE {first:.1e} when it was shown, {error(model, x):.1e} at the end")


if __name__ == "__main__":
    main()
