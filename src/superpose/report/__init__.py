"""What is known about a model of a table, as one page for a browser that needs nothing else and no network."""

from superpose.report.page import write_report as write_report
