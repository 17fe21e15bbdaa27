"""The demo: how long an orbit takes, learned from the solar system, found as a formula, and checked against Kepler's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from superpose.data import solar_system
from superpose.estimators import KANRegressor, KANSymbolicRegressor
from superpose.models import KAN
from superpose.storage import load, save
from superpose.symbolic import Formula, Front
from superpose.symbolic.front import rounded

if TYPE_CHECKING:
    from rich.console import Console

GROUPS = 5
SHOWN = ("Mercury", "Earth", "Moon", "Io", "Titan", "Triton", "Eris")
GRAVITY = 6.67430e-11
"""Newton's constant in m^3/(kg s^2), CODATA 2018."""
KNOWN = 0.5
"""Per cent to which these orbits are Kepler's; what is beyond is other forces (see the README beside the table)."""
SEARCH = 20.0
"""Seconds of a search at most; it ends by itself after a few."""

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


def find_law(x: np.ndarray, y: np.ndarray, names: list[str]) -> tuple[Formula, Front]:
    """The simplest formula of natural logarithms that is as good as nine of ten orbits are known, and all others."""
    search = KANSymbolicRegressor(max_time=SEARCH, networks=False, random_state=0)
    front = search.fit(x, y, variable_names=names).front_
    good = (formula for formula in front if np.quantile(per_cent(formula(x), y), 0.9) < KNOWN)
    return next(good, front[-1]), front


def per_cent(predicted: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Errors of periods whose natural logarithms these are."""
    return 100 * np.abs(np.exp(predicted - y) - 1)


def without_logarithms(formula: Formula) -> str:
    """A formula of natural logarithms as one of the quantities themselves; its inputs are called `log_...`."""
    import sympy

    quantities = {
        symbol: sympy.log(sympy.Symbol(symbol.name.removeprefix("log_"), positive=True))
        for symbol in formula.sympy.free_symbols
    }
    return str(rounded(sympy.exp(sympy.expand(formula.sympy.subs(quantities)))))


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
    _find_the_formula(console)
    console.print("\nYour own table:  superpose fit TABLE --target COLUMN --out FILE")
    console.print("A formula of it: superpose discover TABLE --target COLUMN\n")


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


def _find_the_formula(console: "Console") -> None:
    """Search the law with the central mass and with G times it, and lay both beside Kepler's."""
    table = solar_system()
    axis, mass = 1e3 * np.array(table["semi_major_axis_km"]), np.array(table["central_mass_kg"])
    y = np.log(86400 * np.array(table["period_days"]))
    held = np.random.default_rng(0).permutation(len(y)) % GROUPS == 0
    console.print("\nAnd as a formula?\n", style="bold")
    console.print(
        f"A search gets {(~held).sum()} bodies in SI units: axis a in m, mass M in kg, period T in s. It gets logarithms "
        "again, or the few longest periods would decide alone. Of its formulas this takes the simplest that is "
        f"within {KNOWN} % for nine of ten, which is how well these orbits obey any law of two bodies:\n"
    )
    kepler = {"M": ("2 pi / sqrt(G)", 2 * np.pi / GRAVITY**0.5), "mu": ("2 pi", 2 * np.pi)}
    rows = []
    for name, factor in (("M", mass), ("mu", GRAVITY * mass)):
        x = np.log(np.column_stack([axis, factor]))
        with console.status("searching formulas ..."):
            law, front = find_law(x[~held], y[~held], ["log_a", f"log_{name}"])
        about = "" if name == "M" else "   with mu = G M"
        console.print(f"  T = {without_logarithms(law)}{about}", style="bold")
        symbol, true = kepler[name]
        rows.append(_beside(f"constant with {name}", _constant(law), true, f"{symbol} = {true:.5g}"))
    powers = _powers(law)
    rows += [_beside("power of a", powers[0], 1.5, "3/2"), _beside("power of mu", powers[1], -0.5, "-1/2")]
    console.print()
    _print_table(console, ["", "found", "Kepler", "apart"], rows)
    _judge(console, law, front, x[held], y[held])


def _judge(console: "Console", law: Formula, front: Front, x: np.ndarray, y: np.ndarray) -> None:
    """Errors of the law and of Kepler's on bodies that the search has not seen."""
    theirs = per_cent(np.log(2 * np.pi) + 1.5 * x[:, 0] - 0.5 * x[:, 1], y)
    rows = []
    for name, errors in (("the formula found", per_cent(law(x), y)), ("Kepler's law", theirs)):
        rows.append([name, _per_cent(float(np.median(errors))), _per_cent(float(errors.max()))])
    console.print(f"On the {len(y)} bodies the search has not seen:")
    _print_table(console, ["error of the period", "half are below", "worst"], rows)
    if front.best is not law:
        console.print(
            f"The search itself would pick one of {front.best.complexity} symbols instead of {law.complexity}: it follows "
            "what is not Kepler's, flattened planets and the pull of the Sun. So do the constants, by a little."
        )


def _constant(law: Formula) -> float:
    """The factor of a power law, from its logarithms."""
    return float(np.exp(law(np.zeros((1, 2))))[0])


def _powers(law: Formula) -> np.ndarray:
    """The exponents of a power law, from its logarithms."""
    values = law(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    return values[1:] - values[0]


def _beside(what: str, found: float, true: float, words: str) -> list[str]:
    return [what, f"{found:.5g}", words, _per_cent(100 * abs(found / true - 1))]


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
