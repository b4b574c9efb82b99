"""The physics: what an edge costs, and the Hessian that follows.

Every network here has an energy linear in its learning degrees of freedom,
`E(x; k) = Σᵢ kᵢ eᵢ(x)`, and quadratic in its physical coordinates,
`eᵢ(x) = ½ xᵀ Qᵢ x` with `Qᵢ = ∂H/∂kᵢ`. The bilinear form `xᵀ Qᵢ y` of one edge is all
that learning rules and diagnostics need to know about a network.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float

from jaxphys._checks import (
    MOST_DENSE,
    check_dense,
    check_indices,
    check_kind,
    check_positive,
    is_concrete,
    refuse,
    require,
    to_array,
)
from jaxphys.networks.kinds import NetworkKind
from jaxphys.networks.topology import (
    Topology,
    checked_names,
    from_networkx_with_values,
    node_numbers,
    rigid_motions,
)

if TYPE_CHECKING:
    import networkx

Node = int | np.integer | str
"""A node: its number, or its name where nodes have names."""

_CLASSES: "dict[str, type[AbstractNetwork]]" = {}


def network_classes() -> "dict[str, type[AbstractNetwork]]":
    """Every kind of network that was defined, by its tag: those that ship with jaxphys, and your own.

    >>> import jaxphys as jp
    >>> [one.__name__ for one in jp.networks.network_classes().values()][:3]
    ['FlowNetwork', 'SpringNetwork', 'NodeNetwork']
    """
    return dict(_CLASSES)


def _register(cls: "type[AbstractNetwork]") -> None:
    tag, known = cls.kind.tag, _CLASSES.get(cls.kind.tag)
    # A cell of a notebook that runs again defines the same class anew.
    is_same = known is None or (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)
    require(is_same, "tag", "belong to one kind of network", f"{tag!r} is that of {known and known.__name__}")
    _CLASSES[tag] = cls


class AbstractNetwork(eqx.Module):
    """A physical network: coordinates `x` of shape `(n,)`, learning degrees of freedom `k` of shape `(M,)`.

    Physical coordinates minimise `E(x; k) - F·x` with `E = Σᵢ kᵢ eᵢ(x)`; learning changes `k`. The energies
    of edges are quadratic, `eᵢ = ½ xᵀ Qᵢ x` with symmetric `Qᵢ = ∂H/∂kᵢ`. Ensembles stack networks along a
    leading realization axis of every array leaf (`jaxphys.stack`) and are `vmap`ped.

    A kind of network says what an edge costs; all else follows from that, by automatic differentiation where
    the kind has no closed form of its own:

    - `kind`: what it is called, and what is known of it (`NetworkKind`).
    - `topology`: the nodes, their names and positions, and between which two nodes each entry of `k` is
      drawn, listed and saved, `topology.edges` of shape `(M, 2)`.
    - `k`: `(M,)`, in its own floating dtype, which is that of all computations.
    - `dimension`: coordinates for each node, d. Coordinates are ordered node by node: `x[d a + c]`.
    - `edge_energies`, or `strains` of an `AbstractStrainNetwork`.

    Concrete kinds are registered by their tags when their class is made, so that files find them
    (`network_classes`).
    """

    kind: eqx.AbstractClassVar[NetworkKind]
    k: eqx.AbstractVar[Float[Array, " M"]]
    # A field of some kinds and a property of others, which type checkers have no word for.
    if TYPE_CHECKING:

        @property
        def topology(self) -> Topology:
            """Nodes, and the two ends of every entry of `k`."""

        @property
        def dimension(self) -> int:
            """Coordinates for each node, d."""

    else:
        topology: eqx.AbstractVar[Topology]
        dimension: eqx.AbstractVar[int]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in cls.__dict__:
            _register(cls)

    @abstractmethod
    def edge_energies(self, x: Float[Array, "... n"]) -> Float[Array, "... M"]:
        """`eᵢ(x)`, the energy of every edge per unit `kᵢ`; units of `x` squared. Quadratic in `x`."""

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.topology.num_nodes

    @property
    def names(self) -> tuple[str, ...] | None:
        """N names of the nodes, or None where they only have numbers."""
        return self.topology.names

    @property
    def edge_mask(self) -> Bool[Array, " M"]:
        """True where an entry of `k` acts on anything (padding does not)."""
        return self.topology.edge_mask

    @property
    def positive_k(self) -> bool:
        """Whether physics asks that every k be positive; `train` then keeps them so."""
        return self.kind.positive_k

    @property
    def descent_metric(self) -> np.ndarray | None:
        """`(M,)` weights that turn `∂C/∂k` into the direction of plain descent; None where all are 1."""
        return None

    def strains(self, x: Float[Array, "... n"]) -> Float[Array, "... M c"]:
        """What every edge feels of `x`, c numbers with `eᵢ = ½ |strainᵢ|²`.

        Raises `InputError` where edges feel nothing of the kind (`kind.strain` is None).
        """
        refuse("network", "be one whose edges feel strains", f"it is a {type(self).__name__}")

    def compatibility(self) -> Float[Array, "M c n"]:
        """The matrix B that turns coordinates into strains, `H = Bᵀ diag(k) B` (Δ for flow networks).

        Raises `InputError` where edges feel no strains.
        """
        return jnp.moveaxis(self.strains(jnp.eye(self.num_coordinates, dtype=self.k.dtype)), 0, -1)

    def strain_directions(self) -> Float[Array, "*R M q d"]:
        """What an edge feels of the difference between its two ends: q rows that read its d components.

        Raises `InputError` unless `kind.is_pairwise`.
        """
        refuse(
            "network", "be one whose edges couple the two nodes they join", f"it is a {type(self).__name__}"
        )

    def edge_forces(self, x: Float[Array, "... n"]) -> Float[Array, "... M n"]:
        """`Qᵢ x = ∂eᵢ/∂x`, what each edge pulls at all coordinates with, per unit `kᵢ`."""
        return jnp.vectorize(jax.jacfwd(self.edge_energies), signature="(n)->(m,n)")(x)

    def edge_form(self, x: Float[Array, "... n"], y: Float[Array, "... n"]) -> Float[Array, "... M"]:
        """`xᵀ (∂H/∂kᵢ) y` for every edge; leading axes broadcast. `edge_form(x, x) = 2 edge_energies(x)`."""
        x, y = jnp.broadcast_arrays(x, y)
        # The slope of a quadratic form at x along y.
        return jax.jvp(self.edge_energies, (x,), (y,))[1]

    def edge_reach(self, x: Float[Array, "... n"]) -> Float[Array, "... M"]:
        """`|Qᵢ x|₁`: the largest `xᵀ Qᵢ y` for any y with entries up to 1, for every edge."""
        return jnp.sum(jnp.abs(self.edge_forces(x)), axis=-1)

    def edge_moment(
        self, x: Float[Array, "s n"], y: Float[Array, "o n"], moment: Float[Array, "s o"]
    ) -> Float[Array, " M"]:
        """`Σ_ab moment_ab xₐᵀ (∂H/∂kᵢ) y_b` for every edge: a sum over samples given their second moments."""
        return jnp.sum(self.edge_form(x, moment @ y), axis=0)

    def edge_norms(self, states: Float[Array, "z n"]) -> Float[Array, " M"]:
        """`|X Qᵢ Xᵀ|` in the Frobenius norm, for every edge i and z states X.

        With the columns of a Green's function for X that is how much edge i changes the response, `|∂G/∂kᵢ|`.
        """
        squares = jax.lax.map(lambda row: jnp.sum(self.edge_form(row, states) ** 2, axis=0), states)
        return jnp.sqrt(jnp.sum(squares, axis=0))

    def hessian(self) -> Float[Array, "n n"]:
        """The physical Hessian `H = ∂²E/∂x∂x = Σᵢ kᵢ Qᵢ` (Stern et al. 2023, eqs 12 and 14).

        Raises `InputError` where that is more than dense algebra can take.
        """
        check_dense(self.num_coordinates, self.num_coordinates)
        return jax.hessian(self.energy)(jnp.zeros(self.num_coordinates, self.k.dtype))

    def hessian_coupling(
        self,
        x: Float[Array, "s n"],
        y: Float[Array, "o n"],
        moment: Float[Array, "s o"],
        g: Float[Array, "n n"],
    ) -> Float[Array, "M M"]:
        """`T_ij = Σ_ab moment_ab xₐᵀ Qᵢ G Qⱼ y_b`: two edges acting in turn (Stern et al. 2023, eq. B4)."""
        left = jnp.einsum("amn,nl->aml", self.edge_forces(x), g)
        right = jnp.einsum("ab,bml->aml", moment, self.edge_forces(y))
        return jnp.einsum("ail,ajl->ij", left, right)

    def rigid_motions(self) -> np.ndarray:
        """`(z, n)` orthonormal changes of coordinates that cost no energy whatever `k`. Runs on the host.

        Raises `InputError` where a kind without a closed form of its own is too large to look for them.
        """
        n, edges = self.num_coordinates, self.num_edges
        require(
            n * n * edges <= MOST_DENSE**2,
            "network",
            "say itself what its rigid motions are where it is large (override `rigid_motions`)",
            f"it has {n} coordinates and {edges} edges",
        )
        # One matrix for each edge; what all of them take to zero is what the sum of their squares does.
        forces = np.asarray(self.edge_forces(jnp.eye(n, dtype=self.k.dtype)), dtype=float)
        squares, motions = np.linalg.eigh(np.einsum("amn,bmn->ab", forces, forces))
        return motions[:, squares <= n * float(jnp.finfo(self.k.dtype).eps) * squares[-1]].T

    def drop_row(self, source: int, target: int) -> np.ndarray:
        """`(n,)` row that reads the difference between two nodes. Runs on the host.

        Raises `InputError` on nodes that do not exist or are the same, and where nodes have several
        coordinates and the kind does not say which difference is meant (by a `drop_row` of its own).
        """
        require(
            self.dimension == 1,
            "network",
            "say how a difference between two nodes is read (override `drop_row`)",
            f"a {type(self).__name__} has {self.dimension} coordinates for each node",
        )
        check_indices("nodes", (source, target), self.num_nodes, "nodes")
        require(source != target, "nodes", "be two different nodes", f"both are {source}")
        row = np.zeros(self.num_nodes)
        row[source], row[target] = 1.0, -1.0
        return row

    def parts(self) -> dict[str, Any]:
        """What the network is made of beside `topology` and `k`, by the names in `kind.parts`.

        Texts and numbers are saved among the facts of a network, arrays beside its edges: they have a row for
        every entry of `k`, `(M, …)`.
        """
        return {name: getattr(self, name) for name in self.kind.parts}

    @classmethod
    def from_parts(cls, topology: Topology, k: Float[Array, " M"], **parts: Any) -> "AbstractNetwork":
        """The network that was taken apart into `topology`, `k` and `parts()`, as files do.

        By default the class is called with these by name, so that a plain equinox module needs no method of
        its own. Arrays come as JAX arrays of finite numbers. Nothing else of them is checked: a class refuses
        by `InputError` what does not fit it, as nodes that do not exist.
        """
        return cls(topology=topology, k=k, **parts)  # type: ignore[call-arg]

    @property
    def node_names(self) -> tuple[str, ...]:
        """What every node is called: its name, else its number as text."""
        return self.names or tuple(map(str, range(self.num_nodes)))

    def node_numbers(self, nodes: Any, argument: str = "nodes") -> np.ndarray:
        """Numbers of nodes that are given by number or name, in the shape of `nodes`.

        Raises `InputError` about `argument` on a node that does not exist.
        """
        return node_numbers(nodes, self.num_nodes, self.names, argument)

    @property
    def num_coordinates(self) -> int:
        """n = N d."""
        return self.num_nodes * self.dimension

    @property
    def num_edges(self) -> int:
        """M, the number of learning degrees of freedom."""
        return self.k.shape[-1]

    def energy(self, x: Float[Array, "... n"]) -> Float[Array, "..."]:
        """`E(x; k) = Σᵢ kᵢ eᵢ(x)` (half the dissipated power for flow networks)."""
        return self.edge_energies(x) @ self.k

    def with_k(self, k: Any) -> "AbstractNetwork":
        """The same network with other learning degrees of freedom, `(..., M)`, in their own floating dtype.

        Values may be any: those of a change of `k`, say. Raises `InputError` unless `k` are real numbers, one
        for each edge.
        """
        if not isinstance(k, jax.Array) or not jnp.issubdtype(k.dtype, jnp.floating):
            k = _as_floating(k)
        own = self.k.shape
        require(k.shape[-len(own) :] == own, "k", f"have shape {_ending(own)}", f"it has {k.shape}")
        return eqx.tree_at(lambda network: network.k, self, k)

    def node_rows(
        self, nodes: Sequence[Node] | np.ndarray, directions: np.ndarray | None = None
    ) -> np.ndarray:
        """Rows that read the coordinates of `nodes`: all `d` of each, or one along each unit direction.

        Shape `(len(nodes) d, n)`, or `(len(nodes), n)` with `directions` of shape `(len(nodes), d)`.
        Runs on the host. Raises `InputError` on a node that does not exist.
        """
        nodes = self.node_numbers(nodes)
        rows = np.eye(self.num_coordinates).reshape(self.num_nodes, self.dimension, -1)[nodes]
        if directions is None:
            return rows.reshape(-1, self.num_coordinates)
        return np.einsum("td,tdn->tn", directions, rows)


def check_single(network: AbstractNetwork, argument: str = "network") -> None:
    """Require one network: no other object, and no ensemble of `jaxphys.stack`.

    Raises `InputError` about `argument`.
    """
    check_kind(argument, network, AbstractNetwork, "a network")
    require(
        network.k.ndim == 1,
        argument,
        "be one network",
        f"it is {network.k.shape[0]} realizations side by side; take one with jaxphys.member(network, 0), or "
        "use jax.vmap",
    )


class AbstractStrainNetwork(AbstractNetwork):
    """A network whose edges feel strains, linear in the coordinates: `eᵢ = ½ |strainᵢ|²`.

    A subclass says what a strain is (`strains`), of as many nodes as it likes; everything else follows.
    """

    @abstractmethod
    def strains(self, x: Float[Array, "... n"]) -> Float[Array, "... M c"]:
        """What an edge feels of `x`: a voltage drop, an extension, or a vector of `c` components.

        Linear in `x`, zero for padding. Leading axes broadcast.
        """

    def edge_energies(self, x: Float[Array, "... n"]) -> Float[Array, "... M"]:
        return 0.5 * jnp.sum(self.strains(x) ** 2, axis=-1)

    def edge_form(self, x: Float[Array, "... n"], y: Float[Array, "... n"]) -> Float[Array, "... M"]:
        return jnp.sum(self.strains(x) * self.strains(y), axis=-1)

    def edge_forces(self, x: Float[Array, "... n"]) -> Float[Array, "... M n"]:
        return jnp.einsum("...mc,mcn->...mn", self.strains(x), self.compatibility())

    def edge_moment(
        self, x: Float[Array, "s n"], y: Float[Array, "o n"], moment: Float[Array, "s o"]
    ) -> Float[Array, " M"]:
        strains = self.strains(y)
        weighted = jnp.einsum("so,omc->smc", moment, strains)
        return jnp.sum(self.strains(x) * weighted, axis=(0, -1))

    def edge_norms(self, states: Float[Array, "z n"]) -> Float[Array, " M"]:
        strains = self.strains(states)
        products = jnp.einsum("zic,zid->icd", strains, strains)
        return jnp.sqrt(jnp.sum(products**2, axis=(1, 2)))

    def hessian(self) -> Float[Array, "n n"]:
        check_dense(self.num_coordinates, self.num_coordinates)
        b = self.compatibility()
        return jnp.einsum("mci,mcj->ij", b * self.k[:, None, None], b)

    def hessian_coupling(
        self,
        x: Float[Array, "s n"],
        y: Float[Array, "o n"],
        moment: Float[Array, "s o"],
        g: Float[Array, "n n"],
    ) -> Float[Array, "M M"]:
        # B G Bᵀ by strains of the columns and rows of G: an edge reads its own nodes, not all of them.
        between = self.strains(jnp.moveaxis(self.strains(g.T), 0, -1))
        states = jnp.einsum("aic,ab,bjd->icjd", self.strains(x), moment, self.strains(y))
        return jnp.sum(between * states, axis=(1, 3))

    def rigid_motions(self) -> np.ndarray:
        """`(z, n)` orthonormal changes of coordinates that strain no edge, floppy ones among them."""
        n = self.num_coordinates
        check_dense(n, n)
        b = np.asarray(self.compatibility(), dtype=float).reshape(-1, n)
        _, singular, motions = np.linalg.svd(b, full_matrices=len(b) < n)
        sizes = np.pad(singular, (0, n - len(singular)))
        return motions[sizes <= max(b.shape) * float(jnp.finfo(self.k.dtype).eps) * sizes[0]]


class AbstractDifferenceNetwork(AbstractStrainNetwork):
    """A network whose edges feel differences between their two ends, `eᵢ = ½ |strainᵢ|²`.

    Stern et al. (2023), eq. 14. A subclass says what a strain is, and of which components of the difference
    (`strain_directions`); its `kind.structure` is `"pairwise"` or `"laplacian"`. The Hessian is then as
    sparse as the graph, which planned solvers use.
    """

    @abstractmethod
    def strain_directions(self) -> Float[Array, "*R M q d"]:
        """What an edge feels of the difference between its two ends: q rows that read its d components."""

    @abstractmethod
    def stiffness_blocks(self) -> Float[Array, "M d d"]:
        """`kᵢ` times the `d × d` block by which edge i couples its two ends."""

    def edge_reach(self, x: Float[Array, "... n"]) -> Float[Array, "... M"]:
        pulls = jnp.einsum("...mq,mqd->...md", self.strains(x), self.strain_directions())
        return 2 * jnp.sum(jnp.abs(pulls), axis=-1)

    def hessian(self) -> Float[Array, "n n"]:
        check_dense(self.num_coordinates, self.num_coordinates)
        source, target = self.topology.edges[:, 0], self.topology.edges[:, 1]
        blocks = self.stiffness_blocks()
        rows = jnp.concatenate([source, target, source, target])
        columns = jnp.concatenate([source, target, target, source])
        values = jnp.concatenate([blocks, blocks, -blocks, -blocks])
        shape = (self.num_nodes, self.dimension, self.num_nodes, self.dimension)
        hessian = jnp.zeros(shape, blocks.dtype).at[rows, :, columns, :].add(values)
        return hessian.reshape(self.num_coordinates, self.num_coordinates)


class FlowNetwork(AbstractDifferenceNetwork):
    """A resistor or flow network: `x` are voltages or pressures, `k` conductances.

    `E = ½ Σᵢ kᵢ (Δx)ᵢ²`, half the dissipated power (Guzman et al. 2024 use the power itself, so their
    Hessian is twice ours). `F` are currents into the nodes.

    **Arguments**

    - `topology`: the graph.
    - `k`: `(M,)` conductances, or one number for all edges. Kept in its own floating dtype.

    Raises `InputError` on a conductance that is not positive and finite (padding edges excepted).

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 2.0])
    >>> network.hessian().tolist()
    [[1.0, -1.0, 0.0], [-1.0, 3.0, -2.0], [0.0, -2.0, 2.0]]
    """

    kind: ClassVar[NetworkKind] = NetworkKind(
        tag="flow",
        name="flow network",
        strength="conductance",
        strengths="conductances",
        coordinate="pressure or voltage",
        force="current",
        strain="drop",
        edge_force="current",
        column="conductance",
        structure="laplacian",
        null_models=("shuffled", "redrawn", "smooth", "rewired"),
    )
    topology: Topology
    k: Float[Array, " M"]

    def __init__(self, topology: Topology, k: Any = 1.0):
        check_kind("topology", topology, Topology, "a graph, as `from_edges` makes it")
        self.topology = topology
        self.k = _learning_field(k, topology)

    @classmethod
    def from_networkx(
        cls,
        graph: "networkx.Graph",
        *,
        conductance: str | None = None,
        resistance: str | None = None,
        position: str = "pos",
    ) -> "FlowNetwork":
        """The flow network of a networkx graph; `conductance` or `resistance` is what its edges call theirs.

        Nodes keep their names and, if they have them, the positions named by `position`. Raises `InputError`
        as `jaxphys.from_networkx`, where an edge carries no such number, and where edges carry numbers but it
        is not said what they are (`FlowNetwork(jaxphys.from_networkx(graph))` does without).

        >>> import jaxphys as jp, networkx as nx
        >>> graph = nx.Graph()
        >>> graph.add_edge("pump", "valve", R=0.5)
        >>> network = jp.FlowNetwork.from_networkx(graph, resistance="R")
        >>> network.k.tolist(), network.names
        ([2.0], ('pump', 'valve'))
        """
        topology, k = from_networkx_with_values(
            graph, {"conductance": conductance, "resistance": resistance}, position=position
        )
        if resistance is not None:
            check_positive("resistance", k)
            k = 1 / k
        return cls(topology, k)

    @property
    def dimension(self) -> int:
        return 1

    def strains(self, x: Float[Array, "... n"]) -> Float[Array, "... M 1"]:
        return self.topology.differences(x)[..., None]

    def strain_directions(self) -> Float[Array, "*R M 1 1"]:
        """What an edge feels of the difference between its two ends: all of it."""
        return jnp.ones((*self.k.shape, 1, 1), self.k.dtype)

    def stiffness_blocks(self) -> Float[Array, "M 1 1"]:
        return jnp.where(self.topology.edge_mask, self.k, 0)[:, None, None]

    def rigid_motions(self) -> np.ndarray:
        labels = self.topology.components()
        motions = np.eye(labels.max() + 1)[:, labels]
        return motions / np.linalg.norm(motions, axis=1, keepdims=True)


class SpringNetwork(AbstractDifferenceNetwork):
    """A network of springs in 2-D or 3-D: `x` are node displacements, `k` spring constants.

    Coordinates are ordered node by node, `x[d a + c]` is component c of node a.

    **Arguments**

    - `topology`: a graph with positions; bonds through a periodic box take the nearest image.
    - `k`: `(M,)` spring constants, or one number for all.
    - `law`: `"central"`: unstretched central-force springs, the strain is the extension along
      the bond, `nᵢ·(x_s - x_t)`. `"vector"`: eq. 14 of Stern et al. (2023) read literally, the strain is
      the whole difference vector, so that `H` is the graph Laplacian times the identity.

    Raises `InputError` on missing or coincident positions, or a spring constant that is not
    positive and finite.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> bond = jp.from_edges([(0, 1)], positions=[[0.0, 0.0], [2.0, 0.0]])
    >>> jp.SpringNetwork(bond, k=3.0).energy(jnp.array([0.5, 1.0, 0.0, 0.0])).item()
    0.375
    """

    kind: ClassVar[NetworkKind] = NetworkKind(
        tag="spring",
        name="spring network",
        strength="spring constant",
        strengths="spring constants",
        coordinate="displacement",
        force="force",
        strain="extension",
        edge_force="tension",
        column="stiffness",
        structure="pairwise",
        parts=("law",),
        null_models=("shuffled", "redrawn", "smooth"),
    )
    topology: Topology
    k: Float[Array, " M"]
    directions: Float[Array, "M d"]
    law: Literal["central", "vector"] = eqx.field(static=True)

    def __init__(self, topology: Topology, k: Any = 1.0, *, law: Literal["central", "vector"] = "central"):
        check_kind("topology", topology, Topology, "a graph, as `from_edges` makes it")
        require(law in ("central", "vector"), "law", 'be "central" or "vector"', f"it is {law!r}")
        require(topology.positions is not None, "topology", "have positions for springs", "it has none")
        directions = topology.bond_directions()
        if is_concrete(directions):
            lengths = np.linalg.norm(np.asarray(topology.bond_vectors()), axis=1)
            short = np.flatnonzero((lengths == 0) & np.asarray(topology.edge_mask))
            if short.size:
                refuse("topology", "place the ends of a bond apart", f"bond {short[0]} has length 0")
        self.topology = topology
        self.k = _learning_field(k, topology)
        self.directions = directions.astype(self.k.dtype)
        self.law = law

    @classmethod
    def from_networkx(
        cls,
        graph: "networkx.Graph",
        *,
        stiffness: str | None = None,
        position: str = "pos",
        law: Literal["central", "vector"] = "central",
    ) -> "SpringNetwork":
        """The spring network of a networkx graph; `stiffness` is what its edges call theirs.

        As `FlowNetwork.from_networkx`; every node needs a position.
        """
        topology, k = from_networkx_with_values(graph, {"stiffness": stiffness}, position=position)
        return cls(topology, k, law=law)

    @property
    def dimension(self) -> int:
        return self.directions.shape[-1]

    def strains(self, x: Float[Array, "... n"]) -> Float[Array, "... M c"]:
        displacements = x.reshape(*x.shape[:-1], self.num_nodes, self.dimension)
        edges = self.topology.edges
        relative = displacements[..., edges[:, 0], :] - displacements[..., edges[:, 1], :]
        if self.law == "vector":
            return relative
        return jnp.sum(relative * self.directions, axis=-1, keepdims=True)

    def strain_directions(self) -> Float[Array, "*R M q d"]:
        """What an edge feels of the difference between its two ends: q rows that read its d components."""
        if self.law == "central":
            return self.directions[..., None, :]
        return jnp.broadcast_to(
            jnp.eye(self.dimension, dtype=self.k.dtype), (*self.directions.shape, self.dimension)
        )

    def stiffness_blocks(self) -> Float[Array, "M d d"]:
        k = jnp.where(self.topology.edge_mask, self.k, 0)[:, None, None]
        if self.law == "vector":
            return k * jnp.eye(self.dimension, dtype=self.k.dtype)
        return k * self.directions[:, :, None] * self.directions[:, None, :]

    def rigid_motions(self) -> np.ndarray:
        """Translations; for central forces without a box also rotations about the centre of mass."""
        turning = self.law == "central" and self.topology.box is None
        return rigid_motions(np.asarray(self.topology.positions, dtype=float), rotations=turning)

    def drop_row(self, source: int, target: int) -> np.ndarray:
        """Reads the relative displacement of two nodes along their line; NaN where they coincide."""
        check_indices("nodes", (source, target), self.num_nodes, "nodes")
        require(source != target, "nodes", "be two different nodes", f"both are {source}")
        bond = self.topology.host_bonds(np.array([[source, target]]))[0]
        length = np.linalg.norm(bond)
        direction = bond / length if length else np.full_like(bond, np.nan)
        row = np.zeros((self.num_nodes, self.dimension))
        row[source], row[target] = direction, -direction
        return row.ravel()


class NodeNetwork(AbstractNetwork):
    """A fully connected linear network: its Hessian is any symmetric matrix W (Stern et al. 2023, eq. 12).

    `k` holds the `N (N + 1) / 2` independent entries of `W`: upper triangle with diagonal,
    row by row. `E = ½ Σ_ab W_ab x_a x_b` over ordered pairs, so an off-diagonal entry of `k`
    stands for two entries of `W`: `∂C/∂k` is there twice the Frobenius gradient of eq. 13.
    Eq. 13's dynamics are gradient descent in `k` with the metric `frobenius_metric`
    (1 on the diagonal, ½ off it).

    **Arguments**

    - `k`: `(N (N + 1) / 2,)` entries; or use `NodeNetwork.from_matrix`.
    - `names`: N different names of the nodes, optional.

    Raises `InputError` if the length of `k` is no triangular number, `k` is not finite, or names do not fit.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> jp.NodeNetwork(jnp.array([2.0, -1.0, 3.0])).hessian().tolist()
    [[2.0, -1.0], [-1.0, 3.0]]
    """

    kind: ClassVar[NetworkKind] = NetworkKind(
        tag="node",
        name="fully connected node network",
        strength="coupling",
        strengths="couplings",
        symbol="W",
        coordinate="state",
        force="force",
        positive_k=False,
        structure="matrix",
    )
    k: Float[Array, " M"]
    names: tuple[str, ...] | None = eqx.field(static=True, default=None)

    def __init__(self, k: Any, *, names: Sequence[str] | None = None):
        self.k = _as_floating(k)
        size = _triangle_side(self.k.shape[-1])
        require(
            size * (size + 1) // 2 == self.k.shape[-1] > 0,
            "k",
            "have N (N + 1) / 2 entries",
            f"it has {self.k.shape[-1]}",
        )
        if is_concrete(self.k):
            require(np.isfinite(np.asarray(self.k)).all(), "k", "be finite", "it holds NaN or infinity")
        self.names = checked_names(names, size)

    @staticmethod
    def from_matrix(matrix: Any, *, names: Sequence[str] | None = None) -> "NodeNetwork":
        """The network with Hessian `matrix`, `(N, N)`, and perhaps `names` of its nodes.

        Raises `InputError` unless the matrix is symmetric.
        """
        w = _as_floating(matrix, "matrix")
        require(w.ndim == 2 and w.shape[0] == w.shape[1], "matrix", "be square", f"its shape is {w.shape}")
        if is_concrete(w):
            require(np.array_equal(w, w.T), "matrix", "be symmetric", "it differs from its transpose")
        return NodeNetwork(w[np.triu_indices(w.shape[0])], names=names)

    @classmethod
    def from_parts(cls, topology: Topology, k: Float[Array, " M"], **parts: Any) -> "NodeNetwork":
        return cls(k, names=topology.names)

    @property
    def topology(self) -> Topology:
        """The pairs of nodes that entries of `k` join, those of a node with itself among them."""
        pairs = np.stack(np.triu_indices(self.num_nodes), axis=1)
        return Topology(jnp.asarray(pairs), None, None, num_nodes=self.num_nodes, names=self.names)

    @property
    def num_nodes(self) -> int:
        return _triangle_side(self.k.shape[-1])

    @property
    def dimension(self) -> int:
        return 1

    @property
    def edge_mask(self) -> Bool[Array, " M"]:
        return jnp.ones(self.k.shape, bool)

    @property
    def descent_metric(self) -> np.ndarray:
        return self.frobenius_metric

    @property
    def frobenius_metric(self) -> np.ndarray:
        """`(M,)`: 1 for diagonal entries, ½ for the others; turns `∂C/∂k` into eq. 13's update."""
        rows, columns = np.triu_indices(self.num_nodes)
        return np.where(rows == columns, 1.0, 0.5)

    def edge_energies(self, x: Float[Array, "... n"]) -> Float[Array, "... M"]:
        rows, columns = np.triu_indices(self.num_nodes)
        return x[..., rows] * x[..., columns] * self._metric()

    def edge_form(self, x: Float[Array, "... n"], y: Float[Array, "... n"]) -> Float[Array, "... M"]:
        rows, columns = np.triu_indices(self.num_nodes)
        return (x[..., rows] * y[..., columns] + x[..., columns] * y[..., rows]) * self._metric()

    def edge_reach(self, x: Float[Array, "... n"]) -> Float[Array, "... M"]:
        rows, columns = np.triu_indices(self.num_nodes)
        return (jnp.abs(x[..., rows]) + jnp.abs(x[..., columns])) * self._metric()

    def edge_moment(
        self, x: Float[Array, "s n"], y: Float[Array, "o n"], moment: Float[Array, "s o"]
    ) -> Float[Array, " M"]:
        return _pair_moment(x, y, moment)

    def edge_norms(self, states: Float[Array, "z n"]) -> Float[Array, " M"]:
        # Q joins two nodes, or one to itself: |g_a g_bᵀ + g_b g_aᵀ|² = 2 (g_a² g_b² + (g_a·g_b)²).
        gram = states.T @ states
        a, b = np.triu_indices(self.num_nodes)
        squares = gram[a, a] * gram[b, b]
        return jnp.sqrt(jnp.where(a == b, squares, 2 * (squares + gram[a, b] ** 2)))

    @property
    def entries(self) -> np.ndarray:
        """`(N, N)`: which entry of `k` each entry of `W` is."""
        return matrix_entries(self.num_nodes)

    def hessian(self) -> Float[Array, "n n"]:
        return self.k[self.entries]

    def hessian_coupling(
        self,
        x: Float[Array, "s n"],
        y: Float[Array, "o n"],
        moment: Float[Array, "s o"],
        g: Float[Array, "n n"],
    ) -> Float[Array, "M M"]:
        a, b = np.triu_indices(self.num_nodes)
        p = x.T @ (moment @ y)
        p_a, p_b, g_a, g_b = p[a], p[b], g[a], g[b]
        # Q_ab = e_a e_bᵀ + e_b e_aᵀ (once on the diagonal), so xᵀ Q_ab G Q_cd y has four terms. Whole rows
        # and then whole columns are gathered, which is faster than entries.
        terms = p_a[:, b] * g_b[:, a] + p_a[:, a] * g_b[:, b] + p_b[:, b] * g_a[:, a] + p_b[:, a] * g_a[:, b]
        metric = self._metric()
        return terms * metric[:, None] * metric

    def rigid_motions(self) -> np.ndarray:
        return np.zeros((0, self.num_nodes))

    def _metric(self) -> Float[Array, " M"]:
        return _pair_metric(self.num_nodes, self.k.dtype)


def _pair_metric(num_nodes: int, dtype: np.dtype) -> Float[Array, " M"]:
    """½ on the diagonal and 1 off it: a diagonal entry counts once, an off-diagonal one twice."""
    rows, columns = np.triu_indices(num_nodes)
    return jnp.asarray(np.where(rows == columns, 0.5, 1.0), dtype)


@jax.custom_jvp
def _pair_moment(
    x: Float[Array, "s n"], y: Float[Array, "o n"], moment: Float[Array, "s o"]
) -> Float[Array, " M"]:
    """`Σ_ab moment_ab xₐᵀ Q y_b` of every pair of nodes. Under `vmap` realizations come last."""
    return _pair_moment_by_realization(x, y, moment)


@_pair_moment.defjvp
def _pair_moment_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    return jax.jvp(_dense_pair_moment, primals, tangents)


def _dense_pair_moment(x: Array, y: Array, moment: Array) -> Array:
    outer = x.T @ (moment @ y)
    return (outer + outer.T)[np.triu_indices(len(outer))] * _pair_metric(len(outer), outer.dtype)


@custom_vmap
def _pair_moment_by_realization(x: Array, y: Array, moment: Array) -> Array:
    return _dense_pair_moment(x, y, moment)


# Terminals up to which sums over them are cheaper than matrix products.
_FEW = 8


@_pair_moment_by_realization.def_vmap
def _pair_moment_of_all(axis_size: int, batched: Sequence[bool], *arrays: Array) -> tuple[Array, bool]:
    if arrays[2].shape[-2] > _FEW:
        together = jax.vmap(_dense_pair_moment, [0 if each else None for each in batched])
        return together(*arrays), True
    # Gathered rows of all realizations, multiplied within a sum: XLA's CPU compiler vectorises that.
    x, y, moment = (
        jnp.moveaxis(array, 0, -1) if each else jnp.broadcast_to(array[..., None], (*array.shape, axis_size))
        for each, array in zip(batched, arrays, strict=True)
    )
    rows, columns = np.triu_indices(x.shape[1])
    pulled = jnp.sum(x[:, None] * moment[:, :, None], axis=0)
    first, second = jnp.concatenate([pulled, y]), jnp.concatenate([y, pulled])
    total = jnp.sum(first[:, rows] * second[:, columns], axis=0)
    return jnp.moveaxis(total * _pair_metric(x.shape[1], total.dtype)[:, None], -1, 0), True


def matrix_entries(size: int) -> np.ndarray:
    """`(N, N)`: which entry of k each entry of H is, where k are its upper triangle, row by row."""
    index = np.zeros((size, size), dtype=np.int32)
    index[np.triu_indices(size)] = np.arange(size * (size + 1) // 2)
    return np.maximum(index, index.T)


def _triangle_side(entries: int) -> int:
    """N for `N (N + 1) / 2` entries, rounded down."""
    return int((np.sqrt(8 * entries + 1) - 1) // 2)


def _ending(shape: tuple[int, ...]) -> str:
    return f"(..., {', '.join(map(str, shape))})"


def _as_floating(values: Any, argument: str = "k") -> Array:
    """An array of the values' own floating dtype (else the default one), never weakly typed."""
    if is_concrete(values):
        to_array(argument, values, float)
    array = jnp.asarray(values)
    return jnp.asarray(array, array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else float)


def _learning_field(k: Any, topology: Topology) -> Float[Array, " M"]:
    array = _as_floating(k)
    if array.ndim == 0:
        array = jnp.full(topology.num_edges, array, array.dtype)
    require(
        array.shape == (topology.num_edges,),
        "k",
        f"be one number or have shape ({topology.num_edges},)",
        f"its shape is {array.shape}",
    )
    if is_concrete(topology.edges):
        edges = np.asarray(topology.edges)
        is_edge = edges[:, 0] != edges[:, 1]
        check_positive("k", array, mask=is_edge)
        if is_concrete(array) and not is_edge.all():
            # Padding carries nothing, and NaN times nothing would be NaN.
            array = jnp.where(is_edge | (jnp.isfinite(array) & (array > 0)), array, 0)
    return array
