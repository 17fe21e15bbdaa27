"""Fitting of networks to tables of numbers that fit in memory."""

from superpose.fitting.run import Fit as Fit
from superpose.fitting.run import fit as fit
