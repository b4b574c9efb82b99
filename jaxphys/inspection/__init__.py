"""A network that someone else trained or measured: was it trained, and for what?"""

from jaxphys.inspection.findings import Findings, Statistic
from jaxphys.inspection.measured import inspect_responses
from jaxphys.inspection.verdicts import inspect_network

__all__ = ["Findings", "Statistic", "inspect_network", "inspect_responses"]
