"""The demo tells the truth: what its text says about the models holds for the numbers it prints."""

import re

import numpy as np
import pytest

pytest.importorskip("rich")

from rich.console import Console

from superpose import demo


@pytest.mark.as_shipped
def test_the_story_of_the_demo_is_true_and_fits_a_terminal(capsys):
    demo.show(Console(width=80, markup=False, highlight=False))
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    errors = {
        name: [float(value.replace(",", "")) for value in re.search(rf"^ {name} +(.*)$", text, re.M)[1].split("%")[:-1]]
        for name in ("gradient boosting", "ridge regression", "KAN")
    }
    assert errors["KAN"][0] < 0.5
    assert errors["KAN"][1] < 2
    assert errors["ridge regression"][2] < 1
    assert errors["gradient boosting"][0] > 10
    days = float(re.search(r"predicted +([\d.]+) days", text)[1])
    assert days == pytest.approx(27.32, rel=0.03)
    distance, mass = map(float, re.search(r"distance\^(\d\.\d+) x mass\^(-\d\.\d+)", text).groups())
    assert distance == pytest.approx(1.5, abs=0.05)
    assert mass == pytest.approx(-0.5, abs=0.05)
    assert "the same predictions" in text
    assert re.search(r"T = 7\.\d+e\+5\*a\*\*\(3/2\)/sqrt\(M\)", text)
    assert re.search(r"T = 6\.2\d+\*a\*\*\(3/2\)/sqrt\(mu\)", text)
    apart = [float(value) for value in re.findall(r"^ (?:constant|power) .* (\S+) %", text, re.M)]
    assert len(apart) == 4
    assert max(apart) < 0.5
    median, worst = re.search(r"the formula found +(\S+) % +(\S+) %", text).groups()
    assert float(median) < 0.2
    assert float(worst) < 1


def test_a_law_of_logarithms_is_written_as_one_of_the_quantities():
    x = np.random.default_rng(0).uniform(-3, 3, (60, 2))
    law, front = demo.find_law(x, 2 * x[:, 0] - x[:, 1] / 3, ["log_p", "log_q"])
    assert demo.without_logarithms(law) == "p**2/q**(1/3)"
    assert law in list(front)


def test_every_body_is_predicted_by_a_fit_without_it():
    data = demo.orbits()
    seen = []

    def fit(x, y):
        def predict(rows):
            assert not (rows[:, None] == x[None]).all(-1).any()
            seen.extend(rows.tolist())
            return np.zeros(len(rows))

        return predict

    demo.held_out_errors(fit, data)
    assert sorted(seen) == sorted(data.x.tolist())
