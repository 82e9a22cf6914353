"""The run and the package of the tests of packages."""

from ..packaging.conftest import light as light
from ..packaging.conftest import mapped_folder as mapped_folder
from ..packaging.conftest import run_folder as run_folder
