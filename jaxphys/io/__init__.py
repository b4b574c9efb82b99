"""Reading and writing networks, runs and measured responses.

Files from strangers are data: nothing in them is executed or followed, and their size is bounded before
they are read.
"""

from jaxphys.io.files import provenance, write_atomically
from jaxphys.io.networks import NetworkFile, load_network, read_network, save_network
from jaxphys.io.responses import ResponseFile, read_measured, read_responses
from jaxphys.io.runs import join_runs, load_run, run_dataset, sampled_run, save_run, typical_realization

__all__ = [
    "NetworkFile",
    "ResponseFile",
    "join_runs",
    "load_network",
    "load_run",
    "provenance",
    "read_measured",
    "read_network",
    "read_responses",
    "run_dataset",
    "sampled_run",
    "save_network",
    "save_run",
    "typical_realization",
    "write_atomically",
]
