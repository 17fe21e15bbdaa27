"""The hundred equations of the AI-Feynman set in their units, with the published ranges, and seven formulas from KAN papers.

The equations are Table 4 of Udrescu and Tegmark 2020 (doi 10.1126/sciadv.aay2631), numbered as there after Feynman's
lectures; the ranges are those of their file FeynmanEquations.csv, which drops last zeros of numbers (I.6.20 is I.6.2 there).
The file says h/(2*pi) where the physics has a reduced Planck constant, and so do we; what it calls I is `cur` here, for
SymPy's I is another thing. `feynman.py` has the dimensionless forms of some of these, a set of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy

USUAL = (1.0, 5.0)
"""Where most variables are sampled."""


@dataclass(frozen=True)
class Equation:
    """A formula and the box it is sampled from.

    Attributes:
        name: Its number in the lectures, or a short name.
        text: The formula in SymPy's notation.
        ranges: Lower and upper end for each variable, in the order of the columns.
    """

    name: str
    text: str
    ranges: dict[str, tuple[float, float]]

    @property
    def names(self) -> list[str]:
        return list(self.ranges)

    @cached_property
    def symbols(self) -> dict[str, sympy.Symbol]:
        """Its variables: positive where the whole range is, otherwise real."""
        return {
            name: sympy.Symbol(name, positive=True) if low > 0 else sympy.Symbol(name, real=True)
            for name, (low, _) in self.ranges.items()
        }

    @cached_property
    def expression(self) -> sympy.Expr:
        return sympy.sympify(self.text, locals=self.symbols)

    @cached_property
    def function(self) -> Callable[..., np.ndarray]:
        return sympy.lambdify(list(self.symbols.values()), self.expression, "numpy")

    def sample(self, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Points spread evenly at random over the box, a column for each name, and the values there, in float64."""
        low, high = np.array(list(self.ranges.values()), dtype=float).T
        x = np.random.default_rng(seed).uniform(low, high, (rows, len(low)))
        y = np.asarray(self.function(*x.T), dtype=float)
        return x, y


def _equation(name: str, text: str, names: str, **ranges: tuple[float, float]) -> Equation:
    """An equation whose variables have the usual range where nothing else is said."""
    every = names.split()
    assert set(ranges) <= set(every), name
    return Equation(name, text, {variable: ranges.get(variable, USUAL) for variable in every})


_LIGHT = {"v": (1, 2), "c": (3, 10)}
_PLANCK = "(exp(h/(2*pi)*omega/(kb*T)) - 1)"


def _all(names: str, low: float, high: float) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(names.split(), (low, high))


FEYNMAN = (
    _equation("I.6.20a", "exp(-theta**2/2)/sqrt(2*pi)", "theta", theta=(1, 3)),
    _equation("I.6.20", "exp(-(theta/sigma)**2/2)/(sqrt(2*pi)*sigma)", "sigma theta", **_all("sigma theta", 1, 3)),
    _equation("I.6.20b", "exp(-((theta - theta1)/sigma)**2/2)/(sqrt(2*pi)*sigma)", "sigma theta theta1",
              **_all("sigma theta theta1", 1, 3)),
    _equation("I.8.14", "sqrt((x2 - x1)**2 + (y2 - y1)**2)", "x1 x2 y1 y2"),
    _equation("I.9.18", "G*m1*m2/((x2 - x1)**2 + (y2 - y1)**2 + (z2 - z1)**2)", "m1 m2 G x1 x2 y1 y2 z1 z2",
              **_all("m1 m2 G x2 y2 z2", 1, 2), **_all("x1 y1 z1", 3, 4)),
    _equation("I.10.7", "m_0/sqrt(1 - v**2/c**2)", "m_0 v c", **_LIGHT),
    _equation("I.11.19", "x1*y1 + x2*y2 + x3*y3", "x1 x2 x3 y1 y2 y3"),
    _equation("I.12.1", "mu*Nn", "mu Nn"),
    _equation("I.12.2", "q1*q2/(4*pi*epsilon*r**2)", "q1 q2 epsilon r"),
    _equation("I.12.4", "q1/(4*pi*epsilon*r**2)", "q1 epsilon r"),
    _equation("I.12.5", "q2*Ef", "q2 Ef"),
    _equation("I.12.11", "q*(Ef + B*v*sin(theta))", "q Ef B v theta"),
    _equation("I.13.4", "m*(v**2 + u**2 + w**2)/2", "m v u w"),
    _equation("I.13.12", "G*m1*m2*(1/r2 - 1/r1)", "m1 m2 r1 r2 G"),
    _equation("I.14.3", "m*g*z", "m g z"),
    _equation("I.14.4", "k_spring*x**2/2", "k_spring x"),
    _equation("I.15.3x", "(x - u*t)/sqrt(1 - u**2/c**2)", "x u c t", x=(5, 10), u=(1, 2), c=(3, 20), t=(1, 2)),
    _equation("I.15.3t", "(t - u*x/c**2)/sqrt(1 - u**2/c**2)", "x c u t", c=(3, 10), u=(1, 2)),
    _equation("I.15.10", "m_0*v/sqrt(1 - v**2/c**2)", "m_0 v c", **_LIGHT),
    _equation("I.16.6", "(u + v)/(1 + u*v/c**2)", "c v u"),
    _equation("I.18.4", "(m1*r1 + m2*r2)/(m1 + m2)", "m1 m2 r1 r2"),
    _equation("I.18.12", "r*F*sin(theta)", "r F theta", theta=(0, 5)),
    _equation("I.18.14", "m*r*v*sin(theta)", "m r v theta"),
    _equation("I.24.6", "m*(omega**2 + omega_0**2)*x**2/4", "m omega omega_0 x", **_all("m omega omega_0 x", 1, 3)),
    _equation("I.25.13", "q/C", "q C"),
    _equation("I.26.2", "asin(n*sin(theta2))", "n theta2", n=(0, 1)),
    _equation("I.27.6", "1/(1/d1 + n/d2)", "d1 d2 n"),
    _equation("I.29.4", "omega/c", "omega c", omega=(1, 10), c=(1, 10)),
    _equation("I.29.16", "sqrt(x1**2 + x2**2 - 2*x1*x2*cos(theta1 - theta2))", "x1 x2 theta1 theta2"),
    _equation("I.30.3", "Int_0*sin(n*theta/2)**2/sin(theta/2)**2", "Int_0 theta n"),
    _equation("I.30.5", "asin(lambd/(n*d))", "lambd d n", lambd=(1, 2), d=(2, 5)),
    _equation("I.32.5", "q**2*a**2/(6*pi*epsilon*c**3)", "q a epsilon c"),
    _equation("I.32.17", "epsilon*c*Ef**2/2*(8*pi*r**2/3)*omega**4/(omega**2 - omega_0**2)**2",
              "epsilon c Ef r omega omega_0", **_all("epsilon c Ef r omega", 1, 2), omega_0=(3, 5)),
    _equation("I.34.8", "q*v*B/p", "q v B p"),
    _equation("I.34.10", "omega_0/(1 - v/c)", "c v omega_0", **_LIGHT),
    _equation("I.34.14", "(1 + v/c)/sqrt(1 - v**2/c**2)*omega_0", "c v omega_0", **_LIGHT),
    _equation("I.34.27", "h/(2*pi)*omega", "omega h"),
    _equation("I.37.4", "I1 + I2 + 2*sqrt(I1*I2)*cos(delta)", "I1 I2 delta"),
    _equation("I.38.12", "4*pi*epsilon*(h/(2*pi))**2/(m*q**2)", "m q h epsilon"),
    _equation("I.39.10", "3*pr*V/2", "pr V"),
    _equation("I.39.11", "pr*V/(gamma - 1)", "gamma pr V", gamma=(2, 5)),
    _equation("I.39.22", "n*kb*T/V", "n T V kb"),
    _equation("I.40.1", "n_0*exp(-m*g*x/(kb*T))", "n_0 m x T g kb"),
    _equation("I.41.16", f"h/(2*pi)*omega**3/(pi**2*c**2*{_PLANCK})", "omega T h kb c"),
    _equation("I.43.16", "mu_drift*q*Volt/d", "mu_drift q Volt d"),
    _equation("I.43.31", "mob*kb*T", "mob T kb"),
    _equation("I.43.43", "kb*v/(A*(gamma - 1))", "gamma kb A v", gamma=(2, 5)),
    _equation("I.44.4", "n*kb*T*log(V2/V1)", "n kb T V1 V2"),
    _equation("I.47.23", "sqrt(gamma*pr/rho)", "gamma pr rho"),
    _equation("I.48.20", "m*c**2/sqrt(1 - v**2/c**2)", "m v c", **_LIGHT),
    _equation("I.50.26", "x1*(cos(omega*t) + alpha*cos(omega*t)**2)", "x1 omega t alpha",
              **_all("x1 omega t alpha", 1, 3)),
    _equation("II.2.42", "kappa*(T2 - T1)*A/d", "kappa T1 T2 A d"),
    _equation("II.3.24", "Pwr/(4*pi*r**2)", "Pwr r"),
    _equation("II.4.23", "q/(4*pi*epsilon*r)", "q epsilon r"),
    _equation("II.6.11", "p_d*cos(theta)/(4*pi*epsilon*r**2)", "epsilon p_d theta r", **_all("epsilon p_d theta r", 1, 3)),
    _equation("II.6.15a", "3*p_d*z*sqrt(x**2 + y**2)/(4*pi*epsilon*r**5)", "epsilon p_d r x y z",
              **_all("epsilon p_d r x y z", 1, 3)),
    _equation("II.6.15b", "3*p_d*cos(theta)*sin(theta)/(4*pi*epsilon*r**3)", "epsilon p_d theta r",
              **_all("epsilon p_d theta r", 1, 3)),
    _equation("II.8.7", "3*q**2/(20*pi*epsilon*d)", "q epsilon d"),
    _equation("II.8.31", "epsilon*Ef**2/2", "epsilon Ef"),
    _equation("II.10.9", "sigma_den/(epsilon*(1 + chi))", "sigma_den epsilon chi"),
    _equation("II.11.3", "q*Ef/(m*(omega_0**2 - omega**2))", "q Ef m omega_0 omega",
              **_all("q Ef m", 1, 3), omega_0=(3, 5), omega=(1, 2)),
    _equation("II.11.17", "n_0*(1 + p_d*Ef*cos(theta)/(kb*T))", "n_0 kb T theta p_d Ef",
              **_all("n_0 kb T theta p_d Ef", 1, 3)),
    _equation("II.11.20", "n_rho*p_d**2*Ef/(3*kb*T)", "n_rho p_d Ef kb T"),
    _equation("II.11.27", "n*alpha/(1 - n*alpha/3)*epsilon*Ef", "n alpha epsilon Ef",
              **_all("n alpha", 0, 1), **_all("epsilon Ef", 1, 2)),
    _equation("II.11.28", "1 + n*alpha/(1 - n*alpha/3)", "n alpha", **_all("n alpha", 0, 1)),
    _equation("II.13.17", "cur/(2*pi*epsilon*c**2*r)", "epsilon c cur r"),
    _equation("II.13.23", "rho_c_0/sqrt(1 - v**2/c**2)", "rho_c_0 v c", **_LIGHT),
    _equation("II.13.34", "rho_c_0*v/sqrt(1 - v**2/c**2)", "rho_c_0 v c", **_LIGHT),
    _equation("II.15.4", "-mom*B*cos(theta)", "mom B theta"),
    _equation("II.15.5", "-p_d*Ef*cos(theta)", "p_d Ef theta"),
    _equation("II.21.32", "q/(4*pi*epsilon*r*(1 - v/c))", "q epsilon r v c", **_LIGHT),
    _equation("II.24.17", "sqrt(omega**2/c**2 - pi**2/d**2)", "omega c d", omega=(4, 6), c=(1, 2), d=(2, 4)),
    _equation("II.27.16", "epsilon*c*Ef**2", "epsilon c Ef"),
    _equation("II.27.18", "epsilon*Ef**2", "epsilon Ef"),
    _equation("II.34.2a", "q*v/(2*pi*r)", "q v r"),
    _equation("II.34.2", "q*v*r/2", "q v r"),
    _equation("II.34.11", "g_*q*B/(2*m)", "g_ q B m"),
    _equation("II.34.29a", "q*h/(4*pi*m)", "q h m"),
    _equation("II.34.29b", "2*pi*g_*mom*B*Jz/h", "g_ h Jz mom B"),
    _equation("II.35.18", "n_0/(exp(mom*B/(kb*T)) + exp(-mom*B/(kb*T)))", "n_0 kb T mom B", **_all("n_0 kb T mom B", 1, 3)),
    _equation("II.35.21", "n_rho*mom*tanh(mom*B/(kb*T))", "n_rho mom B kb T"),
    _equation("II.36.38", "mom*H/(kb*T) + mom*alpha*M/(epsilon*c**2*kb*T)", "mom H kb T alpha epsilon c M",
              **_all("mom H kb T alpha epsilon c M", 1, 3)),
    _equation("II.37.1", "mom*(1 + chi)*B", "mom B chi"),
    _equation("II.38.3", "Y*A*x/d", "Y A d x"),
    _equation("II.38.14", "Y/(2*(1 + sigma))", "Y sigma"),
    _equation("III.4.32", f"1/{_PLANCK}", "h omega kb T"),
    _equation("III.4.33", f"h/(2*pi)*omega/{_PLANCK}", "h omega kb T"),
    _equation("III.7.38", "4*pi*mom*B/h", "mom B h"),
    _equation("III.8.54", "sin(2*pi*E_n*t/h)**2", "E_n t h", E_n=(1, 2), t=(1, 2), h=(1, 4)),
    _equation("III.9.52", "2*pi*p_d*Ef*t/h*sin((omega - omega_0)*t/2)**2/((omega - omega_0)*t/2)**2",
              "p_d Ef t h omega omega_0", **_all("p_d Ef t h", 1, 3)),
    _equation("III.10.19", "mom*sqrt(Bx**2 + By**2 + Bz**2)", "mom Bx By Bz"),
    _equation("III.12.43", "n*h/(2*pi)", "n h"),
    _equation("III.13.18", "4*pi*E_n*d**2*k/h", "E_n d k h"),
    _equation("III.14.14", "I_0*(exp(q*Volt/(kb*T)) - 1)", "I_0 q Volt kb T", **_all("q Volt kb T", 1, 2)),
    _equation("III.15.12", "2*U*(1 - cos(k*d))", "U k d"),
    _equation("III.15.14", "h**2/(8*pi**2*E_n*d**2)", "h E_n d"),
    _equation("III.15.27", "2*pi*alpha/(n*d)", "alpha n d"),
    _equation("III.17.37", "beta*(1 + alpha*cos(theta))", "beta alpha theta"),
    _equation("III.19.51", "-m*q**4/(2*(4*pi*epsilon)**2*(h/(2*pi))**2)/n**2", "m q h n epsilon"),
    _equation("III.21.20", "-rho_c_0*q*A_vec/m", "rho_c_0 q A_vec m"),
)  # fmt: skip

PAPERS = (
    _equation("exp-sin", "exp(sin(pi*x) + y**2)", "x y", **_all("x y", -1, 1)),
    _equation("product", "x*y", "x y", **_all("x y", -1, 1)),
    _equation("length", "sqrt(x**2 + y**2)", "x y", **_all("x y", -1, 1)),
    _equation("sin-log", "sin(2*(log(x) + log(y)))", "x y", **_all("x y", 0.2, 5)),
    _equation("velocities", "(u + v)/(1 + u*v)", "u v", **_all("u v", -0.9, 0.9)),
    _equation("moving-mass", "m/sqrt(1 - v**2/c**2)", "m v c", **_LIGHT),
    _equation("four-variables", "exp((sin(pi*(a**2 + b**2)) + sin(pi*(c**2 + d**2)))/2)", "a b c d", **_all("a b c d", -1, 1)),
)  # fmt: skip
"""Formulas of Liu et al. 2024 (arXiv 2404.19756) and its successors, set A of the benchmark."""

BONUS = (
    _equation("rutherford", "(Z_1*Z_2*alpha*h*c/(4*E_n*sin(theta/2)**2))**2", "Z_1 Z_2 alpha h c E_n theta",
              **_all("Z_1 Z_2 alpha h c", 1, 2), E_n=(1, 3), theta=(1, 3)),
    _equation("friedman", "sqrt(8*pi*G*rho/3 - alpha*c**2/a_f**2)", "G rho alpha c a_f",
              **_all("G rho a_f", 1, 3), **_all("alpha c", 1, 2)),
    _equation("compton", "E_n/(1 + E_n/(m*c**2)*(1 - cos(theta)))", "E_n m c theta", **_all("E_n m c theta", 1, 3)),
    _equation("wave-power", "-32/5*G**4/c**5*(m1*m2)**2*(m1 + m2)/r**5", "G c m1 m2 r", **_all("G c r", 1, 2)),
    _equation("aberration", "acos((cos(theta2) - v/c)/(1 - v/c*cos(theta2)))", "c v theta2",
              c=(4, 6), **_all("v theta2", 1, 3)),
    _equation("n-slits", "I_0*(sin(alpha/2)*sin(n*delta/2)/(alpha/2*sin(delta/2)))**2", "I_0 alpha delta n",
              **_all("I_0 alpha delta", 1, 3), n=(1, 2)),
    _equation("goldstein-3.16", "sqrt(2/m*(E_n - U - L**2/(2*m*r**2)))", "m E_n U L r",
              **_all("m U L r", 1, 3), E_n=(8, 12)),
    _equation("goldstein-3.55", "m*k_G/L**2*(1 + sqrt(1 + 2*E_n*L**2/(m*k_G**2))*cos(theta1 - theta2))",
              "m k_G L E_n theta1 theta2", **_all("m k_G L E_n", 1, 3), **_all("theta1 theta2", 0, 6)),
    _equation("goldstein-3.64", "d*(1 - alpha**2)/(1 + alpha*cos(theta1 - theta2))", "d alpha theta1 theta2",
              d=(1, 3), alpha=(0.1, 0.9), **_all("theta1 theta2", 0, 6)),
    _equation("goldstein-3.74", "2*pi*d**(3/2)/sqrt(G*(m1 + m2))", "d G m1 m2", **_all("d G m1 m2", 1, 3)),
    _equation("goldstein-3.99", "sqrt(1 + 2*epsilon**2*E_n*L**2/(m*(Z_1*Z_2*q**2)**2))", "epsilon L m Z_1 Z_2 q E_n",
              **_all("epsilon L m Z_1 Z_2 q E_n", 1, 3)),
    _equation("goldstein-8.56", "sqrt((p - q*A_vec)**2*c**2 + m**2*c**4) + q*Volt", "p q A_vec m c Volt"),
    _equation("goldstein-12.80", "1/(2*m)*(p**2 + m**2*omega**2*x**2*(1 + alpha*x/y))", "m omega p y x alpha",
              **_all("m omega p y x alpha", 1, 3)),
    _equation("jackson-2.11", "q/(4*pi*epsilon*y**2)*(4*pi*epsilon*Volt*d - q*d*y**3/(y**2 - d**2)**2)",
              "q y Volt d epsilon", **_all("q Volt epsilon", 1, 3), y=(4, 6), d=(1, 2)),
    _equation("jackson-3.45", "q/(4*pi*epsilon*sqrt(r**2 + d**2 - 2*r*d*cos(alpha)))", "q r d alpha epsilon",
              d=(4, 6), r=(1, 3), alpha=(0, 6)),
    _equation("jackson-4.60", "Ef*cos(theta)*(-r + d**3/r**2*(alpha - 1)/(alpha + 2))", "Ef theta r d alpha", theta=(0, 6)),
    _equation("jackson-11.38", "sqrt(1 - v**2/c**2)*omega/(1 + v/c*cos(theta))", "c v omega theta",
              c=(5, 20), v=(1, 3), theta=(0, 6)),
    _equation("weinberg-15.2.1", "3/(8*pi*G)*(c**2*k_f/a_f**2 + H_G**2)", "G k_f a_f H_G c"),
    _equation("weinberg-15.2.2", "-1/(8*pi*G)*(c**4*k_f/a_f**2 + H_G**2*c**2*(1 - 2*alpha))", "G k_f a_f H_G alpha c"),
    _equation("schwarz-13.132", "alpha**2*h**2/(4*pi*m**2*c**2)*(omega_0/omega)**2*(omega_0/omega + omega/omega_0 - sin(beta)**2)",
              "omega omega_0 alpha h m c beta", beta=(0, 6)),
)  # fmt: skip
"""The twenty harder equations of Udrescu and Tegmark's Table 5 from other books; ranges ours, away from singularities."""

EQUATIONS = {equation.name: equation for equation in (*FEYNMAN, *PAPERS, *BONUS)}


def check(rows: int = 10_000) -> None:
    """There are a hundred, under names of their own, of all their variables, and finite on their boxes."""
    assert len(FEYNMAN) == 100
    assert len(EQUATIONS) == len(FEYNMAN) + len(PAPERS) + len(BONUS)
    for equation in EQUATIONS.values():
        assert equation.expression.free_symbols == set(equation.symbols.values()), equation.name
        _, y = equation.sample(rows, 0)
        assert y.shape == (rows,), equation.name
        assert np.isfinite(y).all(), equation.name
        assert y.std() > 0, equation.name
