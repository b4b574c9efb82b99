"""Reading and writing networks, runs and measured responses.

Files from strangers are data: nothing in them is executed or followed, and their size is bounded before
they are read.
"""

from jaxphys.io.circuits import Circuit, make_circuit, netlist, read_netlist, save_netlist
from jaxphys.io.exports import export_file, export_network, read_run_circuit
from jaxphys.io.files import provenance, write_atomically
from jaxphys.io.networks import NetworkFile, load_network, read_network, save_network
from jaxphys.io.responses import ResponseFile, read_measured, read_responses
from jaxphys.io.runs import join_runs, load_run, run_dataset, sampled_run, save_run, typical_realization

__all__ = [
    "Circuit",
    "NetworkFile",
    "ResponseFile",
    "export_file",
    "export_network",
    "join_runs",
    "load_network",
    "load_run",
    "make_circuit",
    "netlist",
    "provenance",
    "read_measured",
    "read_netlist",
    "read_network",
    "read_responses",
    "read_run_circuit",
    "run_dataset",
    "sampled_run",
    "save_netlist",
    "save_network",
    "save_run",
    "typical_realization",
    "write_atomically",
]
