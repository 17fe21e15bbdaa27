"""Formulas of the kind T^-1(c_1 e_1 + c_2 e_2 + ...) and c e_1^p e_2^q ...: sparse regression on a dictionary of terms.

All pairs of terms are compared in closed form from their correlations; triples and more grow from the best pairs. Terms
multiplied by the target give denominators. On logarithmic scales coefficients are exponents.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np

from superpose.symbolic.expression import ONE, Constant, Expression, apply, exactly, plus, times
from superpose.symbolic.functions import LIBRARY, power
from superpose.symbolic.view import View, transformed

Array = np.ndarray

ROWS = 300
"""Rows on which terms are compared."""
MOST = 1200
"""Terms of a dictionary."""
MOST_PLAIN = 4000
"""Terms for the target as it is."""
KEPT = 20
"""Combinations that grow, and that are passed on."""
PAIRS = 100
"""Pairs that grow."""
LARGEST = 4
"""Terms of a combination."""
STEEP = 12.0
"""Largest argument of an exponential."""


@dataclass(frozen=True)
class Term:
    """A term: its values, its formula, and how complicated it is."""

    values: Array
    root: Expression
    cost: int

    def __mul__(self, other: "Term") -> "Term":
        return Term(self.values * other.values, times(self.root, other.root), self.cost + other.cost)


def sparse_formulas(
    view: View, *, goal: float, late: Callable[[], bool] = lambda: False
) -> list[tuple[float, Expression]]:
    """Formulas that are linear in a few terms behind a change of the target, with their approximate errors.

    Args:
        view: The view.
        goal: Error in the units of the data at which nothing more is added.
        late: Whether no further change of the target is to be tried.
    """
    view = _thinned(view)
    every = _products(view)
    found: list[tuple[float, Expression]] = []
    for transform, changed in transformed(view):
        if late():
            break
        terms = every if transform.name == "t" else every[:MOST]
        implicit = transform.name == "t" and view.inputs > 1
        below = [t for t in terms if t.cost <= 3] if implicit else []
        values = np.column_stack([*(t.values for t in terms), *(t.values * view.t for t in below)])
        costs = np.array([*(t.cost for t in terms), *(t.cost + 1 for t in below)])
        for error, chosen, coef in _subsets(values, changed.t, np.abs(changed.scale), costs, goal):
            above = [(c, terms[n]) for n, c in zip(chosen, coef[1:], strict=True) if n < len(terms)]
            under = [(c, below[n - len(terms)]) for n, c in zip(chosen, coef[1:], strict=True) if n >= len(terms)]
            if _cancels(under):
                continue
            if under:  # the equation was solved times its denominator
                error = _error(changed, float(coef[0]), above, under)
            found.append((error, changed.whole(_fraction_of(float(coef[0]), above, under))))
    return sorted(found, key=lambda pair: pair[0])


def product_formulas(view: View, *, goal: float) -> list[tuple[float, Expression]]:
    """Formulas that are products of powers of terms, with their approximate errors."""
    view = _thinned(view)
    size = np.abs(view.t)
    if not (size > 1e-12 * size.max()).all():
        return []
    terms = [t for t in _factors(view) if (np.abs(t.values) > 1e-9).all()]
    speeds = [t for t in _atoms(view, powers=True) if t.cost <= 2 and np.abs(t.values).max() < 30]
    values = np.column_stack([*(np.log(np.abs(t.values)) for t in terms), *(t.values for t in speeds)])
    costs = np.array([*(t.cost for t in terms), *(t.cost + 2 for t in speeds)])
    found = []
    for error, chosen, coef in _subsets(values, np.log(size), size * np.abs(view.scale), costs, goal):
        factors: list[Expression] = []
        signs = np.sign(view.t)
        for n, exponent in zip(chosen, coef[1:], strict=True):
            if n >= len(terms):
                factors.append(apply("exp", times(Constant(float(exponent)), speeds[n - len(terms)].root)))
                continue
            nice = Fraction(round(2 * exponent), 2)
            if nice == 0 or abs(float(nice) - exponent) > 0.1 or abs(nice) > 6:
                break
            broken = nice.denominator > 1 and not (terms[n].values > 0).all()
            # A power of a negative number is not defined; a sum that is negative throughout is turned around.
            turned = broken and bool((terms[n].values < 0).all())
            if broken and not turned:
                break
            root = times(exactly(-1), terms[n].root) if turned else terms[n].root
            factors.append(root if nice == 1 else apply(power(nice), root))
            signs = signs * np.sign(terms[n].values) if nice.denominator == 1 and nice % 2 else signs
        else:
            sign = 1.0 if signs.sum() >= 0 else -1.0
            constant = Constant(sign * float(np.exp(np.clip(coef[0], -50, 50))))
            found.append((error, view.whole(times(constant, *factors))))
    return sorted(found, key=lambda pair: pair[0])


def _thinned(view: View) -> View:
    rows = len(view.t)
    return view if rows <= ROWS else view.rows(np.random.default_rng(1).permutation(rows)[:ROWS])


def _fraction_of(constant: float, above: list[tuple[float, Term]], under: list[tuple[float, Term]]) -> Expression:
    """(c + sum a e) / (1 - sum b e)."""
    numerator = plus(*(times(Constant(float(c)), t.root) for c, t in above), Constant(constant))
    if not under:
        return numerator
    denominator = plus(ONE, *(times(Constant(-float(c)), t.root) for c, t in under))
    return times(numerator, apply(power(-1), denominator))


def _error(view: View, constant: float, above: list[tuple[float, Term]], under: list[tuple[float, Term]]) -> float:
    """Root mean square error of (c + sum a e) / (1 - sum b e)."""
    numerator = constant + sum(c * t.values for c, t in above)
    with np.errstate(all="ignore"):
        missed = numerator / (1 - sum(c * t.values for c, t in under)) - view.t
        return float(np.nan_to_num(np.sqrt(np.mean((view.scale * missed) ** 2)), nan=np.inf))


def _cancels(under: list[tuple[float, Term]]) -> bool:
    """Whether a denominator is nearly zero: a relation of the terms among themselves, not of the target."""
    if not under:
        return False
    parts = [np.ones(len(under[0][1].values)), *(-c * t.values for c, t in under)]
    return bool(np.median(np.abs(sum(parts))) < 0.02 * sum(np.median(np.abs(part)) for part in parts))


# ---------------------------------------------------------------------------------------------- dictionaries


def _atoms(view: View, *, powers: bool) -> list[Term]:
    """Powers of single inputs, or other functions of them."""
    found = []
    for x, root in zip(view.X.T, view.roots, strict=True):
        positive, bounded = bool((x > 0).all()), float(np.abs(x).max())
        if powers:
            exponents = [Fraction(1), Fraction(2), Fraction(3), Fraction(4)]
            if positive or float(np.abs(x).min()) > 1e-3 * bounded:
                exponents += [Fraction(-1), Fraction(-2), Fraction(-3)]
            if positive:
                exponents += [Fraction(1, 2), Fraction(-1, 2), Fraction(3, 2)]
            for e in exponents:
                values = x if e == 1 else power(e).value(x)
                found.append(Term(values, root if e == 1 else apply(power(e), root), 1 if e == 1 else 2))
            continue
        names = [*(["sin", "cos"] if 0.5 < bounded < 80 else []), *(["exp"] if bounded < STEEP else [])]
        names += ["log"] if positive else []
        found += [Term(LIBRARY[name].value(x), apply(name, root), 2) for name in names]
        if bounded < STEEP:
            found.append(Term(np.exp(-x), apply("exp", times(exactly(-1), root)), 3))
    return found


def _joint(view: View) -> list[Term]:
    """Functions of two inputs at once: waves of products, quotients, sums and differences."""
    found = []
    for i, j in combinations(range(view.inputs), 2):
        x, z, a, b = view.X[:, i], view.X[:, j], view.roots[i], view.roots[j]
        arguments = [(x * z, times(a, b)), (x - z, plus(a, times(exactly(-1), b))), (x + z, plus(a, b))]
        for (u, p), (v, q) in permutations([(x, a), (z, b)]):
            if float(np.abs(v).min()) > 1e-3 * float(np.abs(v).max()):
                arguments.append((u / v, times(p, apply(power(-1), q))))
        for values, root in arguments:
            if 0.5 < np.ptp(values) < 160:
                found += [Term(LIBRARY[n].value(values), apply(n, root), 4) for n in ("sin", "cos")]
            if float(np.abs(values).max()) < STEEP:
                found.append(Term(np.exp(values), apply("exp", root), 4))
                found.append(Term(np.exp(-values), apply("exp", times(exactly(-1), root)), 5))
    return found


def _products(view: View) -> list[Term]:
    """Terms to add up: powers, other functions, and products of two of them."""
    powers, others, joint = _atoms(view, powers=True), _atoms(view, powers=False), _joint(view)
    few = [term for term in powers if term.cost == 1]
    found = [*powers, *others, *joint]
    found += [a * b for a, b in combinations(powers, 2) if _apart(a, b)]
    found += [a * b for a in powers for b in others]
    found += [a * b for a, b in combinations(others, 2)]
    found += [a * a for a in [*others, *joint]]
    found += [a * b for a in few for b in joint]
    if view.inputs > 2:
        found += [a * b * c for a, b, c in combinations(few, 3)]
        found += [a * b * c for a, b in combinations(few, 2) for c in [*others, *joint]]
        found += [a * b * c * c for a, b in combinations(few, 2) for c in joint]
    found += [a * b * b for a in few for b in [*others, *joint]]
    return _distinct(found)


def _factors(view: View) -> list[Term]:
    """Factors of a product: inputs, other functions of them, and sums of two simple things."""
    powers, others, joint = _atoms(view, powers=True), _atoms(view, powers=False), _joint(view)
    single = [t for t in powers if t.cost == 1]
    simple = [t for t in powers if t.cost <= 2]
    simple += [a * b for a, b in combinations(single, 2)]
    simple += [a * b for a, b in permutations([t for t in powers if t.cost <= 2], 2) if _apart(a, b)]
    sums = []
    for sign in (1, -1):
        one = exactly(sign)
        for t in [*simple, *others]:
            sums.append(Term(t.values + sign, plus(t.root, one), t.cost + 1))
        for a, b in combinations([t for t in powers if t.cost <= 2], 2):
            sums.append(Term(a.values + sign * b.values, plus(a.root, times(one, b.root)), a.cost + b.cost + 1))
    waves = [
        Term(LIBRARY[n].value(t.values * share), apply(n, times(exactly(Fraction(share)), t.root)), 4)
        for t in [*single, *(a * b for a, b in combinations(single, 2))]
        for n in ("sin", "cos")
        for share in (0.5, 2)
        if 0.5 < np.ptp(t.values * share) < 80
    ]
    return _distinct([*single, *others, *joint, *waves, *sums], logarithmic=True)


def _apart(a: Term, b: Term) -> bool:
    """Whether a product is no power itself: the logarithms of its factors are not proportional."""
    left, right = np.log(np.abs(a.values) + 1e-300), np.log(np.abs(b.values) + 1e-300)
    with np.errstate(all="ignore"):
        return bool(abs(np.corrcoef(left, right)[0, 1]) < 1 - 1e-9)


def _distinct(terms: Sequence[Term], *, logarithmic: bool = False) -> list[Term]:
    """Finite terms that vary, of those that say the same the simplest."""
    found, seen = [], set()
    for term in sorted(terms, key=lambda t: t.cost):
        with np.errstate(all="ignore"):
            values = np.log(np.abs(term.values)) if logarithmic else term.values
            spread = values.std()
            if not np.isfinite(values).all() or not spread > 1e-9 * np.abs(values).max():
                continue
            standard = (values - values.mean()) / spread
        key = tuple(np.round(standard[:8] * np.sign(standard[0]), 6))
        if key not in seen:
            seen.add(key)
            found.append(term)
        if len(found) == (MOST if logarithmic else MOST_PLAIN):
            break
    return found


# ------------------------------------------------------------------------------------------------ selection


def _subsets(
    values: Array, z: Array, weight: Array, costs: Array, goal: float
) -> Iterator[tuple[float, tuple[int, ...], Array]]:
    """The best combinations of one to `LARGEST` columns and a constant: error, columns, and coefficients."""
    w = weight / np.sqrt(np.mean(weight**2))
    one = w / np.linalg.norm(w)
    F, target = values * w[:, None], z * w
    F = F - np.outer(one, one @ F)
    rest = target - one * (one @ target)
    norms = np.linalg.norm(F, axis=0)
    usable = norms > 1e-9 * np.abs(values).max(0)
    F = F / np.where(usable, norms, 1.0)
    F[:, ~usable] = 0.0
    if not np.isfinite(F).all():
        return
    G, r = F.T @ F, F.T @ rest
    square = float(rest @ rest)
    singles = np.argsort(square - r**2)[:KEPT]
    level: Sequence[tuple[int, ...]] = [(int(n),) for n in singles]
    yield from _solved(level, values, z, weight)
    pairs = _best_pairs(G, r, costs)
    level = pairs
    for size in range(2, LARGEST + 1):
        best = np.inf
        for error, chosen, coef in _solved(level, values, z, weight):
            best = min(best, error)
            yield error, chosen, coef
        if best <= goal or size == LARGEST:
            return
        level = _grown(level, F, rest)


def _best_pairs(G: Array, r: Array, costs: Array) -> list[tuple[int, int]]:
    """Pairs of columns that explain most together: (r1^2 + r2^2 - 2 r1 r2 g) / (1 - g^2)."""
    best: list[tuple[float, int, int]] = []
    for start in range(0, len(r), 400):
        g = G[start : start + 400]
        a = r[start : start + 400, None]
        away = 1 - g**2
        with np.errstate(all="ignore"):
            gain = np.where(away > 1e-7, (a**2 + r**2 - 2 * a * r * g) / away, 0.0)
        gain[np.arange(len(g))[:, None] + start >= np.arange(len(r))] = 0.0
        for place in np.argpartition(gain, -min(PAIRS, gain.size - 1), axis=None)[-PAIRS:]:
            i, j = divmod(int(place), len(r))
            if j > i + start:  # of a few terms there are fewer pairs than are asked for
                best.append((float(gain[i, j]), i + start, j))
    best.sort(key=lambda each: (-each[0], costs[each[1]] + costs[each[2]]))
    return [(i, j) for _, i, j in best[:PAIRS]]


def _grown(level: Sequence[tuple[int, ...]], F: Array, rest: Array) -> list[tuple[int, ...]]:
    """Every combination with the columns that explain most of what it leaves."""
    found: dict[tuple[int, ...], float] = {}
    for chosen in level:
        basis, _ = np.linalg.qr(F[:, list(chosen)])
        left = rest - basis @ (basis.T @ rest)
        away = F - basis @ (basis.T @ F)
        norms = (away**2).sum(0)
        with np.errstate(all="ignore"):
            gain = np.where(norms > 1e-7, (away.T @ left) ** 2 / norms, 0.0)
        for n in np.argsort(-gain)[:4]:
            key = tuple(sorted((*chosen, int(n))))
            if len(set(key)) == len(key):
                found[key] = float(left @ left - gain[n])
    return sorted(found, key=lambda key: found[key])[:KEPT]


def _solved(
    level: Sequence[tuple[int, ...]], values: Array, z: Array, weight: Array
) -> Iterator[tuple[float, tuple[int, ...], Array]]:
    for chosen in level:
        design = np.column_stack([np.ones(len(z)), values[:, list(chosen)]]) * weight[:, None]
        size = np.linalg.norm(design, axis=0)
        size[size == 0] = 1.0
        coef = np.linalg.lstsq(design / size, z * weight, rcond=1e-13)[0] / size
        error = float(np.sqrt(np.mean((design @ coef - z * weight) ** 2)))
        if np.isfinite(error) and np.isfinite(coef).all():
            yield error, chosen, coef
