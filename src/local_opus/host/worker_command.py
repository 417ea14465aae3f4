"""How a worker is started: this program's modules, and the packages of the worker's environment.

With this program's folder on the module search path the worker would see its neighbours too: an
installed program lies among the packages of its own environment, of other versions perhaps, and
those would come before the ones that the worker is started for.
"""

from __future__ import annotations

from pathlib import Path

_START = """
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from runpy import run_module
spec = PathFinder.find_spec("local_opus", [sys.argv[1]])
sys.modules["local_opus"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["local_opus"])
run_module(sys.argv[2], run_name="__main__", alter_sys=True)
"""


def package_parent() -> str:
    """Return the folder that holds the package."""
    return str(Path(__file__).resolve().parent.parent.parent)


def worker_command(python: str, module: str) -> list[str]:
    """Return the command that runs ``module`` of this program with the packages of ``python``."""
    return [python, "-s", "-P", "-c", _START, package_parent(), module]
