"""The judge of the symbolic benchmark says yes to the same formula in disguise, and no to one that is near."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"

pytestmark = [
    pytest.mark.as_shipped,
    pytest.mark.skipif(not FOLDER.exists(), reason="no benchmarks beside the tests"),
]

SAME = [
    ("I.12.1", "0.99998*Nn*mu + 0.00002"),
    ("I.12.4", "0.0795775*q1*r**(-1.9999)/epsilon"),
    ("I.6.20a", "exp(-0.5*theta*theta - 0.918939)"),
    ("I.6.20", "0.398942*exp(-(theta/(1.41421*sigma))**2)/sigma"),
    ("I.8.14", "sqrt(x1**2 - 2.0*x1*x2 + x2**2 + (y1 - y2)**2)"),
    ("I.8.14", "0.5*sqrt(4.0*(x1 - x2)**2 + 4.0*(y2 - y1)**2)"),
    ("I.10.7", "m_0*c/sqrt((c - v)*(c + v))"),
    ("I.10.7", "c*m_0*(c**2 - v**2)**(-0.5)"),
    ("I.13.12", "-G*m1*m2*(r2 - r1)/(r1*r2)"),
    ("I.15.3t", "(c*t - u*x/c)/sqrt(c**2 - u**2)"),
    ("I.16.6", "c**2*(u + v)/(c*c + v*u)"),
    ("I.18.4", "r1 + m2*(r2 - r1)/(m1 + m2)"),
    ("I.18.12", "F*r*cos(theta - 1.5708)"),
    ("I.26.2", "1.5708 - acos(n*sin(theta2))"),
    ("I.27.6", "d1*d2/(d2 + n*d1)"),
    ("I.29.16", "sqrt((x1 - x2)**2 + 4*x1*x2*sin(0.5*theta1 - 0.5*theta2)**2)"),
    ("I.30.3", "Int_0*(1 - cos(n*theta))/(1 - cos(theta))"),
    ("I.34.14", "omega_0*sqrt((c + v)/(c - v))"),
    ("I.37.4", "I1 + I2 + 2.0*sqrt(I1)*sqrt(I2)*sin(delta + 1.5708)"),
    ("I.41.16", "0.0161257*h*omega**3/(c**2*(exp(0.159155*h*omega/(T*kb)) - 1.0))"),
    ("I.44.4", "T*kb*n*(log(2.0*V2) - log(2.0*V1))"),
    ("I.47.23", "exp(0.5*log(gamma) + 0.5*log(pr) - 0.5*log(rho))"),
    ("I.50.26", "x1*cos(omega*t) + 0.5*alpha*x1*(1 + cos(2*omega*t))"),
    ("II.6.15b", "0.119366*p_d*sin(2.0*theta)/(epsilon*r**3)"),
    ("II.24.17", "sqrt(Abs((omega/c)**2 - 9.8696/d**2))"),
    ("I.47.23", "sqrt(Abs(gamma*Abs(log(Abs(exp(-pr)))))/rho)"),
    ("II.35.18", "0.5*n_0/cosh(B*mom/(T*kb))"),
    ("II.35.21", "mom*n_rho*(exp(2*B*mom/(T*kb)) - 1)/(exp(2*B*mom/(T*kb)) + 1)"),
    ("III.8.54", "0.5 - 0.5*cos(12.5664*E_n*t/h)"),
    ("III.15.12", "4*U*sin(0.5*d*k)**2"),
    ("product", "0.25*(x + y)**2 - 0.25*(1.00002*x - y)**2"),
    ("sin-log", "-sin(-2.0*log(3.0*x) - 2.00003*log(y) + 2.19722)"),
    ("moving-mass", "exp(1.00001*log(m) - 0.5*log(1.0 - 0.99998*v**2/c**2.0001))"),
    ("length", "1.4142*(0.5*x**2 + 0.5*y**2)**0.50004"),
    ("I.27.6", "(0.5*d1**2*d2 + 0.5*d1*d2)/(0.5*(d1 + 1)*(d2 + d1*n))"),
    ("I.32.17", "4.18879*epsilon*c*Ef**2*r**2*(omega**2/(omega_0**2 - omega**2))**2"),
    ("III.9.52", "12.5664*Ef*p_d*(1 - cos(t*(omega - omega_0)))/(h*t*(omega - omega_0)**2)"),
    ("II.11.27", "3.0*Ef*alpha*epsilon*n/(3.0 - alpha*n)"),
    ("II.11.28", "-2 - 9/(alpha*n - 3)"),
    ("II.24.17", "3.14159*sqrt((0.101321*d**2*omega**2 - c**2)/(c**2*d**2))"),
    ("exp-sin", "exp(y**2)*exp(cos(3.14159*x - 1.5708))"),
    ("sin-log", "sin(2.0*log(x*y))"),
    ("length", "sqrt(0.99999*x**2 + y*y)"),
    ("velocities", "(u + v)/(u*v + 1)"),
    ("four-variables", "exp(0.5*sin(3.1416*a**2 + 3.1416*b**2))*exp(0.5*sin(3.1416*(c**2 + d**2)))"),
]

DIFFERENT = [
    ("I.12.1", "mu*Nn + 0.01*Nn**2"),
    ("I.12.4", "q1*r**(-1.99)/epsilon"),
    ("I.6.20a", "exp(-0.505*theta**2)"),
    ("I.8.14", "sqrt(1.01*(x1 - x2)**2 + (y2 - y1)**2)"),
    ("I.10.7", "m_0*(1 + 0.5*v**2/c**2 + 0.375*v**4/c**4)"),
    ("I.16.6", "c**2*(u + v)/(c**2 + 0.99*u*v)"),
    ("I.18.12", "F*r*sin(theta + 0.01)"),
    ("I.37.4", "I1 + I2 + 1.98*sqrt(I1*I2)*cos(delta)"),
    ("II.35.21", "mom*n_rho*tanh(1.01*B*mom/(T*kb))"),
    ("III.15.12", "2*U*(1 - cos(k*d)) + 0.01*U*k"),
    ("III.15.12", "2*U*(1 - cos(k*d)) + 0.001*k"),
    ("exp-sin", "exp(sin(3.13*x) + y**2)"),
    ("product", "0.25*(x + y)**2 - 0.24*(x - y)**2"),
    ("I.12.1", "mu*Nn + sqrt(mu - 6)"),
    ("I.12.1", "mu*Nn*w"),
    ("I.12.1", "mu*("),
]


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    import symbolic_judge

    yield symbolic_judge
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == FOLDER:
            del sys.modules[name]


@pytest.mark.parametrize(("name", "text"), SAME, ids=lambda value: value[:30])
def test_a_disguise_is_seen_through(judge, name, text):
    verdict = judge.judge(judge.EQUATIONS[name], text, seconds=20)
    assert verdict.solved, verdict


@pytest.mark.parametrize(("name", "text"), DIFFERENT, ids=lambda value: value[:30])
def test_what_is_near_is_not_the_same(judge, name, text):
    verdict = judge.judge(judge.EQUATIONS[name], text, seconds=20)
    assert not verdict.solved, verdict
    assert not verdict.numeric, verdict
    assert verdict.how


def test_a_constant_or_a_factor_more_is_solved_but_not_equal(judge):
    equation = judge.EQUATIONS["II.11.28"]
    shifted = judge.judge(equation, f"{equation.text} + 0.1", seconds=20)
    scaled = judge.judge(equation, f"1.1*({equation.text})", seconds=20)
    assert (shifted.solved, shifted.equal, shifted.numeric) == (True, False, False), shifted
    assert (scaled.solved, scaled.equal, scaled.numeric) == (True, False, False), scaled


def test_a_series_that_is_close_enough_is_numeric_only(judge):
    series = "+".join(f"({(-1) ** k})*theta**{2 * k + 1}/factorial({2 * k + 1})" for k in range(20))
    verdict = judge.judge(judge.EQUATIONS["I.18.12"], f"r*F*({series})", seconds=20)
    assert verdict.numeric
    assert not verdict.solved


def test_a_formula_too_long_to_decide_is_not_waited_for(judge, monkeypatch):
    monkeypatch.setattr(judge, "decided", lambda *_: time.sleep(30))
    began = time.perf_counter()
    verdict = judge.judge(judge.EQUATIONS["I.12.1"], "mu*Nn", seconds=0.5)
    assert time.perf_counter() - began < 10
    assert not verdict.solved
    assert "undecided" in verdict.how


def test_a_result_is_judged_in_a_process_of_its_own(judge, tmp_path):
    equation = judge.EQUATIONS["I.12.1"]
    x, y = equation.sample(50, 0)
    np.savez(tmp_path / "data.npz", X_test=x, y_test=y, names=np.array(equation.names))
    found = {"formula": "mu*Nn + 0.5", "predictions": (y + 0.5).tolist()}
    (tmp_path / "result.json").write_text(json.dumps(found))
    command = [sys.executable, str(FOLDER / "symbolic_judge.py"), "data.npz", "result.json", "--equation", "I.12.1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    about = json.loads(done.stdout)
    assert about["solved"]
    assert not about["equal"]
    assert about["apart"] < 1e-12
    assert about["formula_r2"] == pytest.approx(about["r2"])
    assert about["nodes"] == 5


def test_the_equations_are_a_hundred_and_finite(judge):
    import feynman_equations

    feynman_equations.check()
