"""The scikit-learn face: every check of scikit-learn, and what its checks do not see."""

import pickle

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from superpose import KAN, KANClassifier, KANRegressor, KANSymbolicRegressor


@pytest.fixture(scope="module")
def regression():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (400, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] ** 2 + X[:, 0] * X[:, 1] + 0.1 * rng.standard_normal(400)


@pytest.fixture(scope="module")
def classes():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300, 2))
    return X, np.array(["inner", "middle", "outer"])[np.digitize((X**2).sum(1), [0.8, 2.5])]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.as_shipped
@parametrize_with_checks([KANRegressor(), KANClassifier()])
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("solver", "least"), [("auto", 0.97), ("lm", 0.97), ("adam", 0.93)])
def test_a_smooth_function_under_noise_is_found(regression, solver, least):
    X, y = regression
    fitted = KANRegressor(solver=solver, random_state=0).fit(X[:300], y[:300])
    assert fitted.score(X[300:], y[300:]) > least
    assert isinstance(fitted.model_, KAN)
    assert np.allclose(fitted.model_(torch.from_numpy(X)).detach()[:, 0], fitted.predict(X))


@pytest.mark.parametrize("column", ["continuous", "zero or one", "whole numbers", "mostly zero"])
@pytest.mark.parametrize("far", [30.0, -1e6])
def test_one_value_far_off_costs_nothing(column, far):
    rng = np.random.default_rng(0)
    values = {
        "continuous": rng.uniform(-1, 1, 200),
        "zero or one": rng.integers(0, 2, 200),
        "whole numbers": rng.integers(0, 6, 200),
        "mostly zero": rng.uniform(-1, 1, 200) * (rng.uniform(size=200) < 0.2),
    }[column].astype(float)
    X = np.column_stack([values, rng.uniform(-1, 1, 200)])
    y = np.cos(2 * X[:, 0]) + X[:, 1] ** 2 + 0.05 * rng.standard_normal(200)
    mistaken = X.copy()
    mistaken[7, 0] = far
    fitted = KANRegressor(random_state=0).fit(mistaken[:150], y[:150])
    assert fitted.score(X[150:], y[150:]) > 0.95


def test_classes_and_probabilities(classes):
    X, y = classes
    fitted = KANClassifier(random_state=0).fit(X[:200], y[:200])
    probabilities = fitted.predict_proba(X)
    assert fitted.score(X[200:], y[200:]) > 0.9
    assert list(fitted.classes_) == ["inner", "middle", "outer"]
    assert np.allclose(probabilities.sum(1), 1)
    assert (fitted.classes_[probabilities.argmax(1)] == fitted.predict(X)).all()
    assert np.allclose(np.exp(fitted.predict_log_proba(X)), probabilities)


def test_two_classes_have_two_outputs(classes):
    X, y = classes
    fitted = KANClassifier(random_state=0).fit(X, y == "inner")
    assert fitted.model_.widths[-1] == 2
    assert fitted.score(X, y == "inner") > 0.9


@pytest.mark.parametrize("solver", ["lm", "adam"])
def test_the_same_random_state_gives_the_same_bits(regression, solver):
    X, y = regression
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = KANRegressor(solver=solver, max_iter=5, random_state=3).fit(X, y).predict(X)
    second = KANRegressor(solver=solver, max_iter=5, random_state=3).fit(X, y).predict(X)
    assert (first == second).all()
    assert torch.equal(state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


def test_nothing_is_printed_unless_asked(regression, capsys):
    X, y = regression
    KANRegressor(max_iter=3).fit(X, y)
    assert capsys.readouterr() == ("", "")
    KANRegressor(max_iter=3, verbose=1).fit(X, y)
    shown = capsys.readouterr()
    assert shown.out == "" and "loss" in shown.err


def test_several_targets(regression):
    X, y = regression
    fitted = KANRegressor(random_state=0).fit(X, np.column_stack([y, 10 * X[:, 2]]))
    assert fitted.predict(X).shape == (400, 2)
    assert fitted.score(X, np.column_stack([y, 10 * X[:, 2]])) > 0.97


@pytest.mark.parametrize("solver", ["lm", "adam"])
def test_early_stopping_judges_by_held_out_rows(regression, solver):
    X, y = regression
    fitted = KANRegressor(solver=solver, early_stopping=True, random_state=0, hidden=(4,)).fit(X, y)
    assert len(fitted.validation_loss_curve_) == fitted.n_iter_ == len(fitted.loss_curve_)
    assert KANRegressor(early_stopping=False, max_iter=3).fit(X, y).validation_loss_curve_ is None


def test_warm_start_goes_on(regression):
    X, y = regression
    model = KANRegressor(hidden=(6,), solver="adam", max_iter=3, warm_start=True, early_stopping=False, random_state=0)
    first = model.fit(X, y).score(X, y)
    for _ in range(3):
        model.fit(X, y)
    assert model.score(X, y) > first
    with pytest.raises(ValueError, match="features"):
        model.fit(X[:, :2], y)
    with pytest.raises(ValueError, match="warm_start=False"):
        model.fit(X, np.column_stack([y, y]))


def test_warm_start_keeps_its_classes(classes):
    X, y = classes
    model = KANClassifier(max_iter=2, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="classes of the first fit"):
        model.fit(X, y == "inner")


@pytest.mark.parametrize("library", [pd, polars])
def test_tables_with_names(regression, library):
    X, y = regression
    table = library.DataFrame({name: X[:, i] for i, name in enumerate("abc")})
    fitted = KANRegressor(max_iter=5, random_state=0).fit(table, library.Series(y))
    assert list(fitted.feature_names_in_) == ["a", "b", "c"]
    assert (fitted.predict(table) == KANRegressor(max_iter=5, random_state=0).fit(X, y).predict(X)).all()
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(table[["b", "a", "c"]])


def test_pickles_and_clones(classes):
    X, y = classes
    fitted = KANClassifier(max_iter=5, hidden=(3,), random_state=1).fit(X, y)
    assert (pickle.loads(pickle.dumps(fitted)).predict_proba(X) == fitted.predict_proba(X)).all()  # noqa: S301
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_grid_search_in_a_pipeline(regression):
    X, y = regression
    search = GridSearchCV(
        make_pipeline(StandardScaler(), KANRegressor(random_state=0, max_iter=20)),
        {"kanregressor__hidden": [(), (4,)]},
        cv=2,
    ).fit(X, y)
    assert search.best_params_ == {"kanregressor__hidden": (4,)}


def test_weights_are_repetitions(regression):
    X, y = regression[0][:60], regression[1][:60]
    weight = np.arange(60) % 3
    weighted = KANRegressor(random_state=0).fit(X, y, sample_weight=weight)
    repeated = KANRegressor(random_state=0).fit(X.repeat(weight, 0), y.repeat(weight))
    assert np.allclose(weighted.predict(X), repeated.predict(X), rtol=1e-5)


def test_time_is_kept(regression):
    X, y = np.tile(regression[0], (50, 1)), np.tile(regression[1], 50)
    fitted = KANRegressor(solver="adam", max_time=0.5).fit(X, y)
    assert fitted.fit_.stopped == "time" and fitted.fit_.seconds < 3


def test_a_constant_target_and_constant_columns():
    X = np.column_stack([np.ones(50), np.arange(50.0)])
    assert np.allclose(KANRegressor().fit(X, np.full(50, 3.0)).predict(X), 3.0)
    assert np.isfinite(KANRegressor().fit(X[:, :1], X[:, 1]).predict(X[:, :1])).all()


BAD = [
    ([[np.nan], [1.0]], [0, 1], "NaN"),
    ([[np.inf], [1.0]], [0, 1], "infinity"),
    ([["red"], ["blue"]], [0, 1], "convert"),
    ([[1.0]], [0], "minimum of 2"),
]


@pytest.mark.parametrize("estimator", [KANRegressor(), KANClassifier()])
@pytest.mark.parametrize(("X", "y", "match"), BAD)
def test_bad_tables_raise(estimator, X, y, match):
    with pytest.raises(ValueError, match=match):
        clone(estimator).fit(X, y)


def test_one_class_raises():
    with pytest.raises(ValueError, match="one class"):
        KANClassifier().fit([[0.0], [1.0]], ["a", "a"])


def test_weights_that_leave_nothing_raise():
    with pytest.raises(ValueError, match="at least two rows"):
        KANRegressor().fit([[0.0], [1.0], [2.0]], [0, 1, 2], sample_weight=[1, 0, 0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": (0,)}, {"hidden": "wide"}, {"hidden": 8.5}, {"intervals": 0}, {"degree": 9}, {"solver": "sgd"}, {"alpha": -1},
        {"max_iter": 0}, {"batch_size": 0}, {"early_stopping": "yes"}, {"validation_fraction": 1.0},
        {"n_iter_no_change": 0}, {"tol": -1}, {"max_time": 0},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_parameters_raise_when_fitted(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KANRegressor(**wrong).fit([[0.0], [1.0], [2.0]], [0, 1, 2])


def test_a_function_gets_what_the_symbolic_search_says():
    lines = []
    X = np.random.default_rng(0).uniform(1, 2, (40, 2))
    KANSymbolicRegressor(max_time=5, random_state=0, verbose=lines.append).fit(X, X[:, 0] * X[:, 1])
    assert "looking for variables" in lines[0]


@pytest.mark.parametrize("factor", [1 / 1000, 30, 100, 1000])
def test_a_warm_start_with_other_units_is_a_fit_too(factor):
    X = np.random.default_rng(0).uniform(1, 5, (100, 2))
    y = X[:, 0] * X[:, 1]
    model = KANRegressor(random_state=0, warm_start=True).fit(X, y)
    assert model.fit(X, y * factor).score(X, y * factor) > 0.999
    assert model.fit(X * factor, y).score(X * factor, y) > 0.999


def test_text_is_no_target():
    X = np.random.default_rng(0).uniform(size=(20, 2))
    with pytest.raises(ValueError, match="text such as 'hi'; for classes take KANClassifier"):
        KANRegressor().fit(X, np.array(["hi", "lo"] * 10))
