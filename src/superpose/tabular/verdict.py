"""Is the model any good? Scores on rows it has not seen, beside the models everybody has, and a sentence about them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

FEW_ROWS = 30
"""Held-out rows below which a score is mostly luck."""

ROUNDING = 1e-7
"""Error of a formula, as a share of the target's spread, that only the true one has; its constants end somewhere."""

GRADES = [(0.9, "Very good"), (0.7, "Good"), (0.4, "Fair"), (0.0, "Modest")]
"""Words for the share of the variation, or of the naive model's mistakes, that a model explains."""


@dataclass(frozen=True)
class Score:
    """How one model did on the held-out rows.

    Attributes:
        name: The model, in words.
        measures: What is shown, by the name of the measure.
        losses: Squared error, or 1 for a wrong class, of each held-out row.
        seconds: How long the fit took.
    """

    name: str
    measures: dict[str, float]
    losses: np.ndarray
    seconds: float


def baselines(classification: bool, seed: int) -> dict[str, Any]:
    """Unfitted models to compare with: none at all, a linear one, and boosted trees."""
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if classification:
        return {
            "always the most common class": DummyClassifier(strategy="prior"),
            "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
            "gradient boosting": HistGradientBoostingClassifier(random_state=seed),
        }
    return {
        "always the mean": DummyRegressor(),
        "ridge regression": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-6, 3, 19))),
        "gradient boosting": HistGradientBoostingRegressor(random_state=seed),
    }


def score_baselines(x: np.ndarray, y: np.ndarray, held: np.ndarray, classes: int, seed: int) -> list[Score]:
    """Fit each baseline on the rows that are not `held` and score it on those that are."""
    scores = []
    for name, model in baselines(bool(classes), seed).items():
        start = perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a linear model that has not converged is still one to compare with
            model.fit(x[~held], y[~held])
        seconds = perf_counter() - start
        predict: Callable[[np.ndarray], np.ndarray] = model.predict_proba if classes else model.predict
        scores.append(score(name, predict(x[held]), y[held], seconds))
    return scores


def score(name: str, predicted: np.ndarray, y: np.ndarray, seconds: float) -> Score:
    """The measures of one model: predictions are numbers, or probabilities with a column per class.

    R² is left out where all targets are equal.
    """
    if predicted.ndim == 2:
        wrong = (predicted.argmax(1) != y).astype(float)
        likelihood = np.clip(predicted[np.arange(len(y)), y], 1e-15, 1)
        measures = {"accuracy": 1 - wrong.mean(), "log loss": -np.log(likelihood).mean()}
        return Score(name, {key: float(value) for key, value in measures.items()}, wrong, seconds)
    squares = (predicted - y) ** 2
    spread = ((y - y.mean()) ** 2).mean()
    measures = {"RMSE": squares.mean() ** 0.5, "median error": np.median(np.abs(predicted - y))}
    if spread > 0:
        measures = {"R²": 1 - squares.mean() / spread, **measures}
    return Score(name, {key: float(value) for key, value in measures.items()}, squares, seconds)


def verdict(own: Score, others: list[Score], target: str) -> str:
    """One sentence on the first question a user has, from the scores of the model and of `baselines`.

    A model counts as better than another only if the difference of their losses is more than twice its standard error.
    """
    naive, *rivals = others
    rows = len(own.losses)
    care = f" Only {rows} rows judge this, so the next ones may say otherwise." if rows < FEW_ROWS else ""
    useful = [rival for rival in rivals if _compare(rival, naive) > 0]
    if _compare(own, naive) <= 0:
        if useful:
            best = min(useful, key=lambda rival: float(rival.losses.mean()))
            return f"Of no use: it does no better than {_naive(naive)}, but {best.name} does; use that.{care}"
        return (
            f"Of no use: neither it nor the others do clearly better than {_naive(naive)}; "
            f"these columns say little about {target}.{care}"
        )
    gain = 1 - float(own.losses.mean() / naive.losses.mean())
    grade = next((word for least, word in GRADES if gain >= least), GRADES[-1][1])
    return f"{grade}: {_in_words(own, naive, gain, target)}, {_beside(own, rivals)}.{care}"


def formula_verdict(own: Score, rest: list[Score], others: list[Score], target: str, digit: float) -> str:
    """One sentence on a formula: exact, better than boosting, as good, worse, or of no use.

    Args:
        own: How the formula did.
        rest: How the other formulas did, among which it was picked by other rows.
        others: Scores of `baselines`.
        target: The column.
        digit: What the last digit of the target's values counts, 0 if they have all digits of a float.
    """
    naive, _, boosting = others
    rows, spread = len(own.losses), float(naive.losses.mean()) ** 0.5
    error, undefined = own.measures["RMSE"], int((~np.isfinite(own.losses)).sum())
    care = f" Only {rows} rows judge this, so the next ones may say otherwise." if rows < FEW_ROWS else ""
    if undefined:
        return f"Not to be trusted: the formula has no value in {undefined} of {rows} rows it has not seen.{care}"
    if error <= ROUNDING * spread:
        return f"Exact: in {rows} rows it has not seen, its error is rounding."
    if error <= digit / 2 and digit <= spread / 100:
        return f"Exact to the digits in the table: in {rows} rows it has not seen, it errs by less than the last one."
    if _compare(own, naive) <= 0:
        hint = ", but a simpler one in the list does" if any(_compare(each, naive) > 0 for each in rest) else ""
        return f"Of no use: the formula does no better than {_naive(naive)} in rows it has not seen{hint}.{care}"
    gain = 1 - float(own.losses.mean() / naive.losses.mean())
    name = boosting.name
    words = {1: f"Better than {name}", 0: f"As good as {name}, as far as {rows} rows tell", -1: f"Worse than {name}"}
    return f"{words[_compare(own, boosting)]}: {_in_words(own, naive, gain, target)}.{care}"


def _in_words(own: Score, naive: Score, gain: float, target: str) -> str:
    if "accuracy" in own.measures:
        right, without = (100 * each.measures["accuracy"] for each in (own, naive))
        return f"it names the right class for {right:.0f} of 100 rows it has not seen ({_naive(naive)}: {without:.0f})"
    share = min(100 * gain, 99.9) if gain < 0.99995 else 100.0
    return f"it explains {share:.{0 if share < 99 else 1}f} % of the variation of {target} in rows it has not seen"


def _beside(own: Score, rivals: list[Score]) -> str:
    words = {1: "clearly better than", 0: "about as good as", -1: "but clearly worse than"}
    groups: dict[int, list[str]] = {}
    for rival in rivals:
        groups.setdefault(_compare(own, rival), []).append(rival.name)
    parts = [f"{words[outcome]} {' and '.join(groups[outcome])}" for outcome in (1, 0, -1) if outcome in groups]
    advice = f"; {groups[-1][-1]} is the one to use" if -1 in groups else ""
    return " and ".join(parts).replace(" and but ", ", but ") + advice


def _compare(one: Score, other: Score) -> int:
    """1 if `one` is better than `other` by more than chance, -1 if worse, 0 if that cannot be told."""
    gap = other.losses - one.losses
    error = gap.std() / max(len(gap) - 1, 1) ** 0.5
    return int(np.sign(gap.mean())) if abs(gap.mean()) > 2 * error else 0


def _naive(naive: Score) -> str:
    return naive.name.replace("always", "answering")
