"""The table of orbits against Kepler's third law and what every textbook says."""

import math
from collections import Counter

import pytest

from superpose.data import solar_system

G = 6.67430e-11
TABLE = solar_system()
ROWS = [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_every_row_obeys_the_third_law_of_kepler(row):
    axis, mass = 1e3 * row["semi_major_axis_km"], row["central_mass_kg"]
    period = 2 * math.pi * math.sqrt(axis**3 / (G * mass)) / 86400
    assert row["period_days"] == pytest.approx(period, rel=0.007)


def test_names_occur_once_and_central_bodies_have_one_mass():
    assert max(Counter(TABLE["name"]).values()) == 1
    masses = {(row["central_body"], row["central_mass_kg"]) for row in ROWS}
    assert Counter(body for body, _ in masses) == {
        body: 1 for body in ("Sun", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune", "Pluto")
    }
    assert Counter(TABLE["kind"]) == {"planet": 8, "dwarf planet": 5, "moon": 56}


@pytest.mark.parametrize(
    ("name", "days"),
    [("Earth", 365.26), ("Moon", 27.32), ("Mars", 687.0), ("Jupiter", 4333), ("Io", 1.769), ("Titan", 15.95),
     ("Triton", 5.877), ("Phobos", 0.3189), ("Pluto", 90560), ("Ceres", 1683)],
)  # fmt: skip
def test_periods_that_everybody_knows(name, days):
    assert TABLE["period_days"][TABLE["name"].index(name)] == pytest.approx(days, rel=1e-3)


def test_moons_and_planets_have_the_central_body_they_should():
    for row in ROWS:
        assert (row["kind"] == "moon") == (row["central_body"] != "Sun")
