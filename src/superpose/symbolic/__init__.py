"""From networks and tables to formulas."""

from superpose.symbolic.functions import Function as Function
