"""Which nodes are joined, and what an edge costs: graphs, the physics on them, and where both come from."""

from jaxphys.networks.elastic import elastic_network, read_structure
from jaxphys.networks.generators import complete_graph, erdos_renyi, square_lattice, triangular_lattice
from jaxphys.networks.kinds import NetworkKind
from jaxphys.networks.packings import Packing, jammed_packing, jammed_packings
from jaxphys.networks.physics import (
    AbstractDifferenceNetwork,
    AbstractNetwork,
    AbstractStrainNetwork,
    FlowNetwork,
    NodeNetwork,
    SpringNetwork,
    network_classes,
)
from jaxphys.networks.topology import Topology, from_edges, from_networkx

__all__ = [
    "AbstractDifferenceNetwork",
    "AbstractNetwork",
    "AbstractStrainNetwork",
    "FlowNetwork",
    "NetworkKind",
    "NodeNetwork",
    "Packing",
    "SpringNetwork",
    "Topology",
    "complete_graph",
    "elastic_network",
    "erdos_renyi",
    "from_edges",
    "from_networkx",
    "jammed_packing",
    "jammed_packings",
    "network_classes",
    "read_structure",
    "square_lattice",
    "triangular_lattice",
]
