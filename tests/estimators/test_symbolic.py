"""The symbolic regressor: every check of scikit-learn, tables of every kind, and formulas in every form."""

import io
import itertools
import pickle
import time

import joblib
import numpy as np
import pandas as pd
import polars
import pytest
import sympy
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from superpose.estimators.symbolic import KANSymbolicRegressor, _held_out
from superpose.symbolic import Function, dictionary, search

SETTINGS = {"max_time": 10, "networks": False, "random_state": 0}


def law(X):
    return X[:, 0] * np.exp(-X[:, 1] / 2)


def softplus(x):
    return np.logaddexp(0, x)


def softplus_slope(x):
    return 1 / (1 + np.exp(-x))


def softplus_sympy(x):
    return sympy.log(1 + sympy.exp(x))


SOFTPLUS = Function("softplus", softplus, softplus_slope, softplus_sympy, torch.nn.functional.softplus, complexity=2)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).uniform(1, 5, (200, 2))


@pytest.fixture(scope="module")
def fitted(X):
    return KANSymbolicRegressor(**SETTINGS).fit(X, law(X))


@pytest.fixture(scope="module")
def noisy(X):
    """One with a long front."""
    y = law(X) + 0.1 * np.random.default_rng(1).normal(size=200)
    return KANSymbolicRegressor(**SETTINGS | {"max_time": 3}).fit(X, y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.as_shipped
@parametrize_with_checks([KANSymbolicRegressor(functions=["x^2"], networks=False, random_state=0)])
def test_scikit_learn_check(monkeypatch, estimator, check):
    """With so little to try that the time is never up, for only then two fits are the same."""
    monkeypatch.setattr(search, "SNAPPED", 1)
    monkeypatch.setattr(dictionary, "KEPT", 3)
    check(estimator)


def test_the_law_comes_back_in_every_form(fitted, X):
    a, b = sympy.symbols("x1 x2", real=True)
    assert fitted.sympy() == a * sympy.exp(-b / 2)
    assert fitted.latex() == r"x_{1} e^{- \frac{x_{2}}{2}}"
    assert "double law(const double *x)" in fitted.c(name="law")
    assert repr(fitted.formula()) == "x1*exp(-x2/2)"
    np.testing.assert_allclose(fitted.torch()(torch.tensor(X)).detach().numpy()[:, 0], law(X))
    np.testing.assert_allclose(fitted.predict(X), law(X))
    assert fitted.score(X, law(X)) == pytest.approx(1)
    assert fitted.stopped_ == "finished"
    assert fitted.n_features_in_ == 2
    assert not hasattr(fitted, "feature_names_in_")
    assert ">>>>" in str(fitted)
    assert "x1*exp(-x2/2)" in str(fitted)


def test_one_that_is_not_fitted_says_so(X):
    estimator = KANSymbolicRegressor()
    for call in (lambda: estimator.predict(X), estimator.sympy, estimator.latex_table, lambda: estimator.equations_,
                 lambda: estimator.score_equations(X, X[:, 0])):  # fmt: skip
        with pytest.raises(NotFittedError):
            call()
    assert str(estimator) == "KANSymbolicRegressor()"


@pytest.mark.parametrize("make", [pd.DataFrame, polars.DataFrame], ids=["pandas", "polars"])
def test_the_names_of_a_table_are_those_of_the_formula(X, make):
    table = make({"mass": X[:, 0], "time": X[:, 1]})
    estimator = KANSymbolicRegressor(**SETTINGS).fit(table, law(X))
    assert list(estimator.feature_names_in_) == ["mass", "time"]
    assert repr(estimator.formula()) == "mass*exp(-time/2)"
    np.testing.assert_allclose(estimator.predict(table), law(X))


def test_a_series_and_a_list_are_targets_too(X):
    for target in (pd.Series(law(X)), law(X).tolist()):
        few = SETTINGS | {"functions": ["exp"]}
        assert repr(KANSymbolicRegressor(**few).fit(X, target).formula()) == "x1*exp(-x2/2)"


def test_names_may_be_given_and_are_not_guessed_at(X):
    named = KANSymbolicRegressor(**SETTINGS).fit(X, law(X), variable_names=["lambda", "S"])
    assert {str(symbol) for symbol in named.sympy().free_symbols} == {"lambda", "S"}
    assert r"\lambda" in named.latex()
    np.testing.assert_allclose(named.predict(X), law(X))
    for names in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="variable_names must be 2 different names"):
            KANSymbolicRegressor(**SETTINGS).fit(X, law(X), variable_names=names)


def test_columns_in_another_order_are_refused(X):
    table = pd.DataFrame({"mass": X[:, 0], "time": X[:, 1]})
    estimator = KANSymbolicRegressor(**SETTINGS).fit(table, law(X))
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(table[["time", "mass"]])


def test_clones_and_copies(fitted, X):
    assert not hasattr(clone(fitted), "front_")
    assert clone(fitted).get_params() == fitted.get_params()
    buffer = io.BytesIO()
    joblib.dump(fitted, buffer)
    buffer.seek(0)
    for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(buffer)):  # noqa: S301
        np.testing.assert_array_equal(copy.predict(X), fitted.predict(X))
        assert copy.sympy() == fitted.sympy()
        assert str(copy) == str(fitted)


def test_a_function_of_the_user_is_found_and_pickled(X):
    y = 3 * softplus(2 * X[:, 0] - 5) + 1
    estimator = KANSymbolicRegressor(functions=["x^2", SOFTPLUS], **SETTINGS).fit(X[:, :1], y)
    np.testing.assert_allclose(estimator.predict(X[:, :1]), y, rtol=1e-6)
    copy = pickle.loads(pickle.dumps(estimator))  # noqa: S301
    np.testing.assert_array_equal(copy.predict(X[:, :1]), estimator.predict(X[:, :1]))
    assert clone(estimator).functions[1].name == "softplus"


def test_the_selection_may_change_after_the_fit(noisy, X):
    copy = clone(noisy)
    copy.__dict__.update(vars(noisy))
    front = copy.front_
    lowest = int(np.argmin([formula.held_out for formula in front]))
    assert copy.set_params(model_selection="accuracy").formula() is front[lowest]
    assert copy.set_params(model_selection="score").formula() is front[front.choice("score")]
    assert copy.set_params(model_selection="best").formula() is front.best
    copy.model_selection = "nicest"
    with pytest.raises(ValueError, match="model_selection is 'nicest'; choose one of 'best', 'accuracy', 'score'"):
        copy.predict(X)


def test_every_formula_predicts(noisy, X):
    assert len(noisy.front_) > 1
    for n, formula in enumerate(noisy.front_):
        np.testing.assert_array_equal(noisy.predict(X, index=n), formula(X))
        assert noisy.sympy(n) == formula.sympy
    np.testing.assert_array_equal(noisy.predict(X, index=-1), noisy.front_[len(noisy.front_) - 1](X))
    with pytest.raises(IndexError, match=rf"formulas 0 to {len(noisy.front_) - 1}, not 99"):
        noisy.predict(X, index=99)


def test_the_data_frame_lists_the_front(noisy):
    frame = noisy.equations_
    assert list(frame["complexity"]) == sorted(frame["complexity"])
    assert (np.diff(frame["held_out_loss"]) < 0).all()
    assert list(frame.columns) == ["complexity", "loss", "held_out_loss", "r2_held_out", "score", "sympy", "latex"]


def test_formulas_are_scored_on_other_rows(noisy):
    fresh = np.random.default_rng(7).uniform(1, 5, (300, 2))
    y = law(fresh)
    frame = noisy.score_equations(fresh, y)
    for n, row in enumerate(frame.itertuples()):
        missed = noisy.predict(fresh, index=n) - y
        assert row.test_loss == pytest.approx(np.mean(missed**2))
        assert row.test_r2 == pytest.approx(1 - np.sum(missed**2) / np.sum((y - y.mean()) ** 2))
    assert noisy.score_equations(fresh, np.ones(300))["test_r2"].isna().all()


def test_the_table_in_latex_is_balanced_and_marks_one_row(noisy):
    text = noisy.latex_table()
    depth = 0
    for sign in text.replace(r"\{", "").replace(r"\}", ""):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    rows = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(rows) == len(noisy.front_)
    assert all(row.endswith(r"\\") and row.count("&") == 2 and row.count("$") == 2 for row in rows)
    assert text.count(r"\leftarrow") == 1
    assert text.count(r"\begin{") == text.count(r"\end{") == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_time": 0}, "max_time is 0; it must be a positive number of seconds"),
        ({"max_time": True}, "max_time is True"),
        ({"max_time": float("nan")}, "max_time is nan"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0; it must lie between 0 and 1"),
        ({"validation_fraction": "some"}, "validation_fraction is 'some'"),
        ({"n_jobs": 0}, "n_jobs is 0; it must be a number of processes, or -1"),
        ({"n_jobs": 1.5}, "n_jobs is 1.5"),
        ({"model_selection": "nice"}, "model_selection is 'nice'; choose one of 'best', 'accuracy', 'score'"),
        ({"functions": ["sine"]}, "there is no function 'sine'; choose among"),
    ],
)
def test_settings_that_mean_nothing_are_refused(X, settings, message):
    with pytest.raises(ValueError, match=message):
        KANSymbolicRegressor(**settings).fit(X, law(X))


def test_data_that_mean_nothing_are_refused(X):
    broken = X.copy()
    broken[3, 1] = np.nan
    estimator = KANSymbolicRegressor(**SETTINGS)
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(broken, law(X))
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(X, np.where(np.arange(200) == 3, np.nan, law(X)))
    with pytest.raises(ValueError, match="minimum of 8"):
        estimator.fit(X[:7], law(X[:7]))
    with pytest.raises(TypeError, match="functions must be names or"):
        KANSymbolicRegressor(functions=[np.sin]).fit(X, law(X))


def test_a_formula_that_is_not_defined_is_nan_there(X):
    estimator = KANSymbolicRegressor(**SETTINGS).fit(X[:, :1], np.log(X[:, 0]))
    assert np.isnan(estimator.predict(np.array([[-1.0]]))).all()


def test_it_stands_in_pipelines_and_grids(X):
    pipeline = make_pipeline(StandardScaler(), KANSymbolicRegressor(**SETTINGS | {"max_time": 1}))
    assert pipeline.fit(X, 2 + X[:, 0] * X[:, 1]).score(X, 2 + X[:, 0] * X[:, 1]) > 0.99
    quick = KANSymbolicRegressor(**SETTINGS | {"max_time": 2, "functions": ["exp"]})
    grid = GridSearchCV(quick, {"model_selection": ["best", "accuracy"]}, cv=2)
    assert grid.fit(X, law(X)).best_score_ > 0.99


def test_the_same_seed_gives_the_same_formulas(X):
    y = law(X) + 0.1 * np.random.default_rng(1).normal(size=200)
    few = {"functions": ["x^2", "exp"], "networks": False, "random_state": 3}
    one, two = (KANSymbolicRegressor(**few).fit(X[:50], y[:50]) for _ in range(2))
    assert str(one) == str(two)


def test_progress_is_written_only_when_asked(X, capsys):
    few = SETTINGS | {"functions": ["exp"]}
    KANSymbolicRegressor(**few).fit(X, law(X))
    assert capsys.readouterr() == ("", "")
    KANSymbolicRegressor(verbose=1, **few).fit(X, law(X))
    out, err = capsys.readouterr()
    assert out == ""
    assert "looking for variables" in err


@pytest.mark.parametrize("rows", [8, 9, 20, 100])
@pytest.mark.parametrize("share", [1e-3, 0.25, 0.99])
def test_some_rows_judge_and_some_are_fitted_to(rows, share):
    held = _held_out(rows, share, 0)
    assert 2 <= held.sum() <= rows - 4
    assert (held == _held_out(rows, share, 0)).all()
    if share == 0.25:
        assert abs(held.sum() - rows / 4) <= 1


def test_units_mark_the_formulas_that_do_not_agree():
    X = np.random.default_rng(0).uniform(1, 5, (200, 2))
    y = X[:, 0] * X[:, 1] ** 2 / 2
    fitted = KANSymbolicRegressor(max_time=10, random_state=0, networks=False)
    fitted.fit(X, y, variable_names=["m", "v"], units=["kg", "m/s"], target_unit="J")
    picked = fitted.front_.choice()
    assert bool(fitted.equations_["units_agree"][picked])
    assert "do not agree" not in str(fitted).splitlines()[1 + picked]
    fitted.fit(X, y, variable_names=["m", "v"], units=["kg", "m/s"], target_unit="N")
    assert not bool(fitted.equations_["units_agree"][fitted.front_.choice()])
    assert "(units do not agree)" in str(fitted)


@pytest.mark.parametrize(("units", "target"), [(["kg"], "J"), (None, "J"), (["kg", "m/s"], None), ("kg", "J")])
def test_units_are_for_all_inputs_and_the_target(units, target):
    with pytest.raises(ValueError, match="each of 2 inputs"):
        KANSymbolicRegressor().fit(np.ones((20, 2)), np.ones(20), units=units, target_unit=target)


def test_formulas_are_as_short_as_asked_for(X, noisy):
    y = law(X) + 0.1 * np.random.default_rng(1).normal(size=200)
    assert noisy.equations_.complexity.max() > 7
    short = KANSymbolicRegressor(**SETTINGS | {"max_time": 3}, max_complexity=7).fit(X, y)
    assert 1 < short.equations_.complexity.max() <= 7


@pytest.mark.parametrize("most", [4, 7.5, True, "9"])
def test_a_length_that_is_none_raises(X, most):
    with pytest.raises(ValueError, match="max_complexity is"):
        KANSymbolicRegressor(**SETTINGS, max_complexity=most).fit(X, law(X))


@pytest.mark.parametrize(
    ("functions", "target"),
    [
        (["sin"], lambda a: np.exp(a[:, 0])),
        (["exp"], lambda a: np.sin(a[:, 0] * a[:, 1])),
        (["cos"], lambda a: np.log(a[:, 0])),
    ],
)
def test_formulas_hold_only_the_functions_that_were_named(X, functions, target):
    """Also where the law itself is none of them."""
    fitted = KANSymbolicRegressor(**SETTINGS | {"max_time": 2}, functions=functions).fit(X, target(X))
    allowed = {"exp": {sympy.exp}, "sin": {sympy.sin, sympy.cos}, "cos": {sympy.sin, sympy.cos}}[functions[0]]
    for formula in fitted.front_:
        assert {node.func for node in formula.sympy.atoms(sympy.Function)} <= allowed


def test_sines_may_be_cosines(X):
    fitted = KANSymbolicRegressor(**SETTINGS, functions=["sin"]).fit(X, 3 * np.cos(2 * X[:, 0]))
    assert fitted.front_.best.held_out < 1e-20


def test_few_rows_for_many_columns_are_said(X):
    wide = np.random.default_rng(0).uniform(size=(80, 40))
    with pytest.warns(UserWarning, match="60 rows to fit are few for 40 columns: .* 164"):
        KANSymbolicRegressor(**SETTINGS | {"max_time": 0.5}).fit(wide, wide[:, 0])


def test_many_columns_do_not_outlast_the_time():
    wide = np.random.default_rng(0).uniform(1, 2, (500, 40))
    began = time.perf_counter()
    KANSymbolicRegressor(**SETTINGS | {"max_time": 1}).fit(wide, 3 * wide[:, 0] * wide[:, 1])
    assert time.perf_counter() - began < 10


def test_a_formula_written_twice_is_one_row(X):
    y = X[:, 0] * X[:, 1] + np.random.default_rng(5).normal(0, 0.5, 200)
    front = KANSymbolicRegressor(**SETTINGS | {"max_time": 1.5}).fit(X, y).front_
    lost = [after.held_out / before.held_out for before, after in itertools.pairwise(front)]
    assert all(ratio < 1 - 1e-13 for ratio in lost)


def test_text_is_no_target(X):
    with pytest.raises(ValueError, match="text such as 'lo'; for classes take KANClassifier"):
        KANSymbolicRegressor(**SETTINGS).fit(X, np.array(["lo", "hi"] * 100))
