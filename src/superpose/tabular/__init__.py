"""From a table in a file to a judged model in a file: what the command line does, without the printing."""

from superpose.tabular.discovery import Discovery as Discovery
from superpose.tabular.discovery import Numbers as Numbers
from superpose.tabular.discovery import checked_ending as checked_ending
from superpose.tabular.discovery import compare as compare
from superpose.tabular.discovery import discover as discover
from superpose.tabular.discovery import prepare_numbers as prepare_numbers
from superpose.tabular.inputs import Inputs as Inputs
from superpose.tabular.pipeline import Job as Job
from superpose.tabular.pipeline import Pipeline as Pipeline
from superpose.tabular.pipeline import fit_pipeline as fit_pipeline
from superpose.tabular.pipeline import is_pipeline as is_pipeline
from superpose.tabular.pipeline import prepare as prepare
from superpose.tabular.reading import InputError as InputError
from superpose.tabular.reading import read_cells as read_cells
from superpose.tabular.reading import read_table as read_table
