"""Tables that ship with superpose."""

from superpose.data.solar_system import solar_system as solar_system
