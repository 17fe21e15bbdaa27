"""The demo: how long an orbit takes, learned from the solar system, and checked against what everybody knows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from superpose.data import solar_system
from superpose.estimators import KANRegressor
from superpose.models import KAN
from superpose.storage import load, save

if TYPE_CHECKING:
    from rich.console import Console

GROUPS = 5
SHOWN = ("Mercury", "Earth", "Moon", "Io", "Titan", "Triton", "Eris")

Predictor = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Orbits:
    """The table on logarithmic scales.

    Attributes:
        names: The bodies.
        x: Logarithms of the semi-major axis in km and of the central mass in kg.
        y: Logarithm of the period in days.
    """

    names: list[Any]
    x: np.ndarray
    y: np.ndarray


def orbits() -> Orbits:
    """The solar system, in decimal logarithms."""
    table = solar_system()
    x = np.log10(np.column_stack([table["semi_major_axis_km"], table["central_mass_kg"]]).astype(float))
    return Orbits(list(table["name"]), x, np.log10(np.array(table["period_days"], dtype=float)))


def fit_network(x: np.ndarray, y: np.ndarray) -> KAN:
    """The network of a `KANRegressor` as it comes."""
    return KANRegressor(random_state=0).fit(x, y).model_


def as_predictor(network: KAN) -> Predictor:
    """A network as a function of arrays."""
    kind = next(network.parameters()).dtype
    return lambda x: network(torch.as_tensor(x, dtype=kind)).detach().double().numpy()[:, 0]


def held_out_errors(fit: Callable[[np.ndarray, np.ndarray], Predictor], data: Orbits) -> np.ndarray:
    """Error of every period in per cent, each predicted by a fit that had not seen the body."""
    errors = np.empty(len(data.y))
    group = np.random.default_rng(0).permutation(len(data.y)) % GROUPS
    for n in range(GROUPS):
        held = group == n
        predicted = fit(data.x[~held], data.y[~held])(data.x[held])
        errors[held] = 100 * np.abs(10 ** (predicted - data.y[held]) - 1)
    return errors


def exponents(network: KAN, x: np.ndarray) -> np.ndarray:
    """Mean slope of the logarithm of the period in each input, which is the exponent of a power law."""
    kind = next(network.parameters()).dtype
    rows = torch.as_tensor(x, dtype=kind).requires_grad_()
    (slopes,) = torch.autograd.grad(network(rows).sum(), rows)
    return slopes.mean(0).double().numpy()


def show(console: "Console") -> None:
    """Run the demo and tell the story."""
    data = orbits()
    console.print("\nHow long does an orbit take?\n", style="bold")
    console.print(
        f"The solar system in {len(data.names)} rows: how far planets, dwarf planets and moons are from the body they "
        "go around, how heavy that body is, and how long one orbit takes. Some of them:"
    )
    _print_rows(console)
    console.print(
        "A network learns the period from distance and mass. It gets logarithms of all three: the longest period is "
        f"{10 ** np.ptp(data.y):,.0f} times the shortest, and 1 % should count the same for both.\n"
    )
    _compare(console, data)
    _predict_the_moon(console, data)


def _compare(console: "Console", data: Orbits) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    plane = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-6, 3, 19)))
    trees = HistGradientBoostingRegressor(min_samples_leaf=3, random_state=0)  # the default of 20 is for longer tables
    models: dict[str, Callable[[np.ndarray, np.ndarray], Predictor]] = {
        "gradient boosting": lambda x, y: trees.fit(x, y).predict,
        "ridge regression": lambda x, y: plane.fit(x, y).predict,
        "KAN": lambda x, y: as_predictor(fit_network(x, y)),
    }
    console.print(f"Is it any good? Each body is predicted by a fit that has not seen it ({GROUPS} fits each):")
    rows = []
    for name, fit in models.items():
        with console.status(f"{name} ..."):
            errors = held_out_errors(fit, data)
        rows.append(
            [name, *(_per_cent(value) for value in (np.median(errors), np.quantile(errors, 0.9), errors.max()))]
        )
    _print_table(console, ["error of the period", "half are below", "nine of ten", "worst"], rows, bold=len(rows) - 1)
    console.print(
        "Ridge can only draw a plane, and on logarithmic scales the truth is one, so nothing can do much better here; "
        "the network could have drawn anything and found the plane. Boosting answers with averages of the rows it has "
        "seen, which are too few. The last tenths of a per cent are real: planets bulge, moons have mass themselves, "
        "and the Sun pulls at all of them.\n"
    )


def _predict_the_moon(console: "Console", data: Orbits) -> None:
    moon = np.array([name == "Moon" for name in data.names])
    network = fit_network(data.x[~moon], data.y[~moon])
    days = float(10 ** as_predictor(network)(data.x[moon])[0])
    truth = float(10 ** data.y[moon][0])
    distance, mass = exponents(network, data.x[~moon])
    console.print("One to check: the Moon. Nothing else here goes around Earth, and this fit has never seen it.")
    console.print(f"\n  predicted  {days:.2f} days", style="bold")
    console.print(f"  true       {truth:.2f} days, {_per_cent(100 * abs(days / truth - 1))} away\n", style="bold")
    console.print("Kepler's and Newton's law misses it by 0.5 %, too, since the Moon has mass itself.")
    console.print(f"{network!r}", style="dim")
    console.print(f"Its mean slopes say: period ~ distance^{distance:.2f} x mass^{mass:.2f}. Kepler: 1.5 and -0.5.")
    with TemporaryDirectory() as folder:
        path = Path(folder, "orbits.safetensors")
        save(network, path, {"inputs": ["log10 km", "log10 kg"], "output": "log10 days"})
        again = load(path)
        assert isinstance(again, KAN)
        same = bool((as_predictor(again)(data.x) == as_predictor(network)(data.x)).all())
        size = path.stat().st_size / 1000
    console.print(f"Saved in {size:.0f} kB and loaded: {'the same predictions' if same else 'OTHER PREDICTIONS'}.")
    console.print("\nYour own table:  superpose fit TABLE --target COLUMN --out FILE\n", style="bold")


def _print_rows(console: "Console") -> None:
    table = solar_system()
    columns = ("name", "central_body", "semi_major_axis_km", "central_mass_kg", "period_days")
    rows = []
    for wanted in SHOWN:
        n = table["name"].index(wanted)
        name, around, distance, mass, days = (table[column][n] for column in columns)
        rows.append([name, around, f"{distance:,.0f}", f"{mass:.4g}", f"{days:,.2f}"])
    _print_table(console, ["body", "goes around", "distance (km)", "central mass (kg)", "period (days)"], rows, words=2)


def _print_table(
    console: "Console", header: list[str], rows: list[list[Any]], *, words: int = 1, bold: int | None = None
) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, name in enumerate(header):
        table.add_column(name, justify="left" if n < words else "right")
    for n, row in enumerate(rows):
        table.add_row(*row, style="bold" if n == bold else None)
    console.print(table)


def _per_cent(value: float) -> str:
    return f"{value:.2f} %" if value < 10 else f"{value:,.0f} %"
