"""A network that someone else trained or measured: was it trained, and for what?"""

from jaxphys.inspection.findings import Findings, Statistic, inspect_network

__all__ = ["Findings", "Statistic", "inspect_network"]
