"""Estimators in the manner of scikit-learn."""

from superpose.estimators.symbolic import KANSymbolicRegressor as KANSymbolicRegressor
from superpose.estimators.tables import KANClassifier as KANClassifier
from superpose.estimators.tables import KANRegressor as KANRegressor
