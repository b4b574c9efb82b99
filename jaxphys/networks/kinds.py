"""What a kind of network says of itself: one record on each class, read by files, reports and solvers."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxphys._checks import described, require

CouplingStructure = Literal["general", "pairwise", "laplacian", "matrix"]
"""How the entries of k make the Hessian, see `NetworkKind.structure`."""

NULL_MODELS = ("shuffled", "redrawn", "smooth", "rewired")
"""Ways to draw k, or the graph too, of a network that was not trained, see `jaxphys.inspect_network`."""


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
    - `null_models`: with what `jaxphys.inspect_network` may compare it: some of "shuffled", "redrawn",
      "smooth" and "rewired".

    Raises `InputError` on a structure or a null model that there is not, and where `parts` are no names.
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

    def __post_init__(self) -> None:
        structures = get_args(CouplingStructure)
        is_known = self.structure in structures
        require(is_known, "structure", f"be among {', '.join(structures)}", f"it is {self.structure!r}")
        for name, choices in (("parts", None), ("null_models", NULL_MODELS)):
            names = getattr(self, name)
            # One text would be read letter by letter.
            are_names = isinstance(names, tuple) and all(isinstance(each, str) for each in names)
            require(are_names, name, "be a tuple of names", f"it is {described(names)}")
            unknown = [] if choices is None else sorted(set(names) - set(choices))
            must = f"be among {', '.join(NULL_MODELS)}"
            require(not unknown, name, must, f"it names {', '.join(unknown)}")

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
