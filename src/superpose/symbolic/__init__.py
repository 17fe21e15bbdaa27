"""From networks and tables to formulas."""

from superpose.symbolic.extraction import formula as formula
from superpose.symbolic.front import Formula as Formula
from superpose.symbolic.front import Front as Front
from superpose.symbolic.functions import Function as Function
