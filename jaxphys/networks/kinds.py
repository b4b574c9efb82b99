"""What a kind of network says of itself: one record on each class, read by files, reports and solvers."""

from dataclasses import dataclass
from typing import Literal

CouplingStructure = Literal["general", "pairwise", "laplacian", "matrix"]
"""How the entries of k make the Hessian, see `NetworkKind.structure`."""


@dataclass(frozen=True, kw_only=True)
class NetworkKind:
    """What a kind of network is called, in words and in files, and what may be done with it.

    Every concrete network has one as `kind`, a class variable. Other parts of the library ask this record (or
    a method of the network) and never for the class, so that a kind of your own is treated as the kinds that
    ship with jaxphys.

    **Attributes**

    - `tag`: what files call it, `"flow"`; one class for each tag.
    - `name`: what a reader calls it, `"flow network"`.
    - `strength`, `strengths`: one entry of k and several, `"conductance"` and `"conductances"`; `symbol`:
      their letter in pictures.
    - `coordinate`: what a node has, `"displacement"`; `force`: what acts on it, `"current"`.
    - `strain`: what an edge feels of the coordinates, `"extension"`; None where edges feel no such number or
      vector, and then `AbstractNetwork.strains` refuses. `edge_force`: k times the strain, `"tension"`.
    - `column`: what k is called in edge lists, GraphML and archives.
    - `positive_k`: whether physics asks that every k be positive; `train` then keeps them so.
    - `structure`: how k enters the Hessian H, from which solvers and null models are chosen. `"laplacian"`: H
      is the weighted Laplacian of the topology, with weights k and a coordinate for each node. `"pairwise"`:
      every edge couples the two nodes that it joins through the difference of their coordinates, as
      `AbstractDifferenceNetwork` does. `"matrix"`: k are the independent entries of H. `"general"`: none of
      these. A kind that claims more than it keeps gets wrong numbers, which `jaxphys.checks.certify` finds.
    - `parts`: names of the attributes that it is made of beside `topology` and `k`: texts, numbers, and
      arrays with a row for every entry of k. They are saved under these names, and handed to
      `AbstractNetwork.from_parts` by them.
    - `null_models`: with what `jaxphys.inspect_network` may compare it.
    """

    tag: str
    name: str
    strength: str
    strengths: str
    coordinate: str
    force: str
    symbol: str = "k"
    strain: str | None = None
    edge_force: str | None = None
    column: str = "k"
    positive_k: bool = True
    structure: CouplingStructure = "general"
    parts: tuple[str, ...] = ()
    null_models: tuple[str, ...] = ("shuffled", "redrawn")

    @property
    def is_laplacian(self) -> bool:
        """Whether H is the weighted Laplacian of the topology: nodes can be eliminated one after another."""
        return self.structure == "laplacian"

    @property
    def is_pairwise(self) -> bool:
        """Whether each edge couples its two ends, so that H is as sparse as the graph."""
        return self.structure in ("laplacian", "pairwise")

    @property
    def is_matrix(self) -> bool:
        """Whether k are the independent entries of H, upper triangle with diagonal, row by row."""
        return self.structure == "matrix"
