"""Two ways from a table to a formula.

The first reads a network: fit it, prune it, and put a symbol in the place of every edge. Its curves can be looked at on
the way, which shows what kind of formula to expect. The second searches the table itself, with networks where nothing
simpler explains it, and is the one to begin with.

    python examples/find_a_formula.py
"""

import matplotlib
import torch

from superpose import KAN, KANSymbolicRegressor, fit, formula, plot, prune

matplotlib.use("Agg")  # nothing is shown here; leave this line out to see the pictures with matplotlib.pyplot.show()


NAMES = ["width", "height", "price"]


def table(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Diagonals of rectangles by their sides; the third column, say their price, has nothing to do with them."""
    x = torch.rand(rows, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4 + 1
    return x, (x[:, :1] ** 2 + x[:, 1:2] ** 2).sqrt()


def main(rows: int = 600, seconds: float = 20.0) -> None:
    """Read a network as a formula, then search one without it, and print both fronts."""
    x, y = table(rows)
    x_held, y_held, x, y = x[: rows // 3], y[: rows // 3], x[rows // 3 :], y[rows // 3 :]

    model = KAN((3, 1, 1), generator=torch.Generator().manual_seed(0)).double()
    fitted = fit(model, x, y).model
    pruned = prune(fitted, x_held, y_held, names=NAMES)
    print(pruned)
    axes = plot(pruned.model, x, names=NAMES)
    print(f"drawn, with the names {[text.get_text() for text in axes.texts]}\n")
    print(formula(pruned.model, x, y, validation=(x_held, y_held), names=NAMES, max_time=seconds))

    search = KANSymbolicRegressor(max_time=seconds, random_state=0)
    search.fit(x.numpy(), y.numpy().ravel(), variable_names=NAMES)
    print(f"\n{search}\n\n{search.latex()}")
    print(f"R2 on rows it has not seen: {search.score(x_held.numpy(), y_held.numpy().ravel()):.6f}")


if __name__ == "__main__":
    main()
