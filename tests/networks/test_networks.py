"""Closed forms of every network against automatic differentiation of its energy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, ulps
from own_kinds import WORDS, Hinges, Products, of_three

import jaxphys as jp

equilibrate = eqx.filter_jit(jp.equilibrate)


def flow():
    return jp.FlowNetwork(jp.erdos_renyi(6, 9, jax.random.key(0)))


def flow_with_parallel_edges():
    return jp.FlowNetwork(jp.from_edges([(0, 1), (1, 0), (0, 1), (1, 2)]))


def padded_flow():
    return jp.FlowNetwork(jp.erdos_renyi(6, 9, jax.random.key(0)).padded(11))


def springs(dimension):
    return jp.SpringNetwork(jp.erdos_renyi(5, 8, jax.random.key(0), dimension=dimension))


def periodic_springs():
    return jp.SpringNetwork(jp.square_lattice((3, 3), periodic=True))


def vector_springs():
    topology = jp.erdos_renyi(5, 8, jax.random.key(0), dimension=2)
    return jp.SpringNetwork(topology, law="vector")


def node():
    return jp.NodeNetwork(jnp.ones(10))


NETWORKS = {
    "flow": flow,
    "flow, parallel edges": flow_with_parallel_edges,
    "flow, padded": padded_flow,
    "springs 2-D": lambda: springs(2),
    "springs 3-D": lambda: springs(3),
    "springs, periodic": periodic_springs,
    "springs, vector law": vector_springs,
    "node": node,
    "own kind, by strains": lambda: of_three(Hinges),
    "own kind, by energies": lambda: of_three(Products),
}


@eqx.filter_jit
def by_automatic_differentiation(network, x):
    """`H = ∂²E/∂x∂x`, `Qᵢ = ∂H/∂kᵢ` and `eᵢ = ∂E/∂kᵢ`, from nothing but the energy."""

    def hessian(k):
        return jax.hessian(network.with_k(k).energy)(x)

    energies = jax.grad(lambda k: network.with_k(k).energy(x))(network.k)
    return hessian(network.k), jnp.moveaxis(jax.jacobian(hessian)(network.k), -1, 0), energies


@eqx.filter_jit
def closed_forms(network, x, y, moment, g):
    return {
        "hessian": network.hessian(),
        "energies": network.edge_energies(x),
        "form": network.edge_form(x, y),
        "moment": network.edge_moment(x, y[:2], moment),
        "coupling": network.hessian_coupling(x, y[:2], moment, g),
        "energy": network.energy(x),
        "forces": network.edge_forces(x),
        "reach": network.edge_reach(x),
        "norms": network.edge_norms(x),
    }


@eqx.filter_jit
def derived_forms(network, x, y, moment, g):
    """What a kind of network that knows nothing but its energies would have in their place."""
    base = jp.AbstractNetwork
    return {
        "hessian": base.hessian(network),
        "form": base.edge_form(network, x, y),
        "moment": base.edge_moment(network, x, y[:2], moment),
        "coupling": base.hessian_coupling(network, x, y[:2], moment, g),
        "forces": base.edge_forces(network, x),
        "reach": base.edge_reach(network, x),
        "norms": base.edge_norms(network, x),
    }


@pytest.fixture(params=NETWORKS)
def case(request):
    """A network with random k, random states, and its `H`, `Qᵢ` and `eᵢ` by automatic differentiation."""
    network = NETWORKS[request.param]()
    random = np.random.default_rng(3)
    positive = network.kind.positive_k
    k = random.uniform(0.5, 2.0, network.num_edges) if positive else random.normal(size=network.num_edges)
    network = network.with_k(jnp.asarray(k))
    n = network.num_coordinates
    x, y = (jnp.asarray(random.normal(size=(3, n))) for _ in range(2))
    moment = jnp.asarray(random.normal(size=(3, 2)))
    g = jnp.asarray(random.normal(size=(n, n)))
    hessian, q, energies = map(np.asarray, by_automatic_differentiation(network, x[0]))
    return network, (x, y, moment, g), hessian, q, energies


def test_closed_forms_follow_from_the_energy(case):
    network, (x, y, moment, g), hessian, q, energies = case
    forms = closed_forms(network, x, y, moment, g)
    x, y, moment, g, k = map(np.asarray, (x, y, moment, g, network.k))
    tolerance = ulps(200)
    assert_close(forms["hessian"], hessian, relative=tolerance)
    assert_close(forms["hessian"], np.einsum("i,iab->ab", k, q), relative=tolerance)
    assert_close(forms["hessian"], forms["hessian"].T, relative=ulps(4))
    assert_close(forms["energies"][0], energies, relative=tolerance)
    assert_close(forms["energies"], 0.5 * np.einsum("ra,iab,rb->ri", x, q, x), relative=tolerance)
    assert_close(forms["energy"], 0.5 * np.einsum("ra,ab,rb->r", x, hessian, x), relative=tolerance)
    assert_close(forms["form"], np.einsum("ra,iab,rb->ri", x, q, y), relative=tolerance)
    assert_close(forms["moment"], np.einsum("so,sa,iab,ob->i", moment, x, q, y[:2]), relative=tolerance)
    # T_ij = Σ_so moment_so xₛᵀ Qᵢ G Qⱼ y_o; G need not be symmetric.
    coupling = np.einsum("so,sa,iab,bc,jcd,od->ij", moment, x, q, g, q, y[:2], optimize=True)
    assert_close(forms["coupling"], coupling, relative=tolerance)
    forces = np.einsum("iab,rb->ria", q, x)
    assert_close(forms["forces"], forces, relative=tolerance)
    assert_close(forms["reach"], np.abs(forces).sum(axis=-1), relative=tolerance)
    norms = np.linalg.norm(np.einsum("ra,iab,sb->irs", x, q, x), axis=(1, 2))
    assert_close(forms["norms"], norms, relative=tolerance)


def test_what_a_kind_need_not_say_follows_from_its_energies(case):
    """Each closed form of each kind, and what stands in for it where a kind has none."""
    network, arguments, *_ = case
    forms, derived = closed_forms(network, *arguments), derived_forms(network, *arguments)
    for name, found in derived.items():
        assert found.dtype == network.k.dtype
        assert_close(found, forms[name], relative=ulps(200))


def test_motions_that_a_kind_need_not_name(case):
    """Of all edges at once, and floppy ones, which springs do not count as rigid."""
    network, *_, q, _ = case
    n = network.num_coordinates
    motions = jp.AbstractNetwork.rigid_motions(network)
    assert len(motions) == n - np.linalg.matrix_rank(q.reshape(-1, n))
    assert np.abs(motions @ motions.T - np.eye(len(motions))).max(initial=0.0) < ulps(50)
    assert np.abs(np.einsum("za,iab->zib", motions, q)).max(initial=0.0) < ulps(1e4)
    named = network.rigid_motions()
    assert np.abs(named @ motions.T @ motions - named).max(initial=0.0) < 1e-5


def test_sizes(case):
    network, _, hessian, q, _ = case
    assert network.num_coordinates == network.num_nodes * network.dimension == hessian.shape[0]
    assert network.num_edges == len(q) == network.k.shape[0]
    # An edge acts on something exactly where its mask says so.
    assert np.asarray(network.edge_mask).tolist() == (np.abs(q).max(axis=(1, 2)) > 0).tolist()


def test_rigid_motions_are_the_null_space_common_to_all_edges(case):
    """They are orthonormal and cost no energy whatever k."""
    network, _, _, q, _ = case
    motions = network.rigid_motions()
    n = network.num_coordinates
    if np.linalg.matrix_rank(q.reshape(-1, n)) == n:
        assert motions.shape == (0, n)
        return
    assert_close(motions @ motions.T, np.eye(len(motions)), relative=ulps(20))
    assert_close(
        np.einsum("za,iab->zib", motions, q),
        np.zeros((len(motions), *q.shape[:2])),
        relative=ulps(20),
        scale=1.0,
    )


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (flow, 1),
        (lambda: jp.FlowNetwork(jp.from_edges([(0, 1), (2, 3)], num_nodes=5)), 3),
        (lambda: springs(2), 3),
        (lambda: springs(3), 6),
        (periodic_springs, 2),
        (vector_springs, 2),
        (node, 0),
    ],
    ids=["flow", "flow in three pieces", "springs 2-D", "springs 3-D", "periodic", "vector law", "node"],
)
def test_number_of_rigid_motions(network, count):
    assert len(network().rigid_motions()) == count


def test_rigid_motions_of_one_bond_in_space():
    """Three translations and two rotations: turning a bond about itself moves nothing."""
    bond = jp.from_edges([(0, 1)], positions=[[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    motions = jp.SpringNetwork(bond).rigid_motions()
    stretch = np.array([-1.0, -2.0, -3.0, 1.0, 2.0, 3.0])
    assert_close(motions @ stretch, np.zeros(len(motions)), relative=ulps(20), scale=1.0)
    assert len(motions) == 5


def test_flow_is_the_weighted_laplacian():
    k = np.array([2.0, 3.0, 5.0])
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 0)]), k=k)
    expected = [[7.0, -2.0, -5.0], [-2.0, 5.0, -3.0], [-5.0, -3.0, 8.0]]
    assert_identical(np.asarray(network.hessian(), float), np.array(expected))


def test_the_vector_law_is_the_laplacian_times_the_identity():
    """Eq. 14 of Stern et al. (2023) read literally; central forces on the same graph differ."""
    topology = jp.erdos_renyi(5, 8, jax.random.key(0), dimension=2)
    k = np.linspace(1.0, 2.0, 8)
    laplacian = np.asarray(jp.FlowNetwork(topology, k=k).hessian())
    vector = np.asarray(jp.SpringNetwork(topology, k=k, law="vector").hessian())
    assert_close(vector, np.kron(laplacian, np.eye(2)), relative=ulps(10))
    central = np.asarray(jp.SpringNetwork(topology, k=k).hessian())
    assert np.abs(central - vector).max() > 0.1


def test_compatibility_matrix(random):
    """`H = Bᵀ diag(k) B`, and B's rows are bond directions with both signs."""
    network = springs(2)
    b = np.asarray(network.compatibility())[:, 0, :]
    assert_close(np.linalg.norm(b, axis=1), np.full(8, np.sqrt(2.0)), relative=ulps(10))
    assert_close(network.hessian(), b.T @ b, relative=ulps(20))
    x = random.normal(size=network.num_coordinates)
    assert_close(network.strains(jnp.asarray(x))[:, 0], b @ x, relative=ulps(50))


def test_strains_are_linearised_extensions(random):
    """Half the second-order change of length in a real spring: its first-order change is the strain."""
    network = springs(3)
    positions = np.asarray(network.topology.positions, dtype=float)
    edges = np.asarray(network.topology.edges)
    x = random.normal(size=positions.shape)

    def lengths(step):
        moved = positions + step * x
        return np.linalg.norm(moved[edges[:, 0]] - moved[edges[:, 1]], axis=1)

    slope = (lengths(1e-5) - lengths(-1e-5)) / 2e-5
    strains = network.strains(jnp.asarray(x.ravel()))[:, 0]
    assert_close(strains, slope, relative=max(1e-8, ulps(20)))


def test_periodic_springs_pull_across_the_border():
    """A ring of four unit springs in a box: each node feels both neighbours."""
    topology = jp.from_edges(
        [(0, 1), (1, 2), (2, 0)], positions=[[0.1, 0.5], [1.1, 0.5], [2.1, 0.5]], box=[3.0, 1.0]
    )
    hessian = np.asarray(jp.SpringNetwork(topology).hessian()).reshape(3, 2, 3, 2)
    assert_close(hessian[:, 0, :, 0], 3 * np.eye(3) - 1, relative=ulps(10))
    assert np.abs(hessian[:, 1]).max() < ulps(10)


def test_node_network_from_matrix_and_back(random):
    w = random.normal(size=(4, 4))
    w = w + w.T
    network = jp.NodeNetwork.from_matrix(w)
    assert network.num_nodes == 4
    assert network.num_edges == 10
    assert_identical(network.hessian(), jnp.asarray(w))
    assert_identical(network.k, jnp.asarray(w[np.triu_indices(4)]))


def test_the_frobenius_metric_turns_the_gradient_into_eq_13(random):
    """Of `C(W) = ⟨S, W⟩`: by independent entries `2S` off the diagonal, by Frobenius `S` everywhere."""
    s = random.normal(size=(4, 4))
    s = s + s.T
    network = jp.NodeNetwork(jnp.ones(10))
    gradient = jax.grad(lambda k: jnp.sum(jnp.asarray(s) * network.with_k(k).hessian()))(network.k)
    upper = np.triu_indices(4)
    off = upper[0] != upper[1]
    assert_close(gradient, s[upper] * np.where(off, 2, 1), relative=ulps(10))
    assert_close(gradient * network.frobenius_metric.astype(gradient.dtype), s[upper], relative=ulps(10))


def test_the_record_of_a_kind_tells_how_it_may_be_solved():
    """What it claims is so: H is a Laplacian, is as sparse as the graph, or is k itself."""
    for build in NETWORKS.values():
        network = build()
        hessian = np.asarray(network.hessian())
        edges = np.asarray(network.topology.edges)
        if network.kind.is_laplacian:
            assert_identical(hessian, np.asarray(jp.FlowNetwork(network.topology, network.k).hessian()))
        if network.kind.is_pairwise:
            blocks = np.abs(hessian.reshape((network.num_nodes, network.dimension) * 2)).max(axis=(1, 3))
            joined = np.eye(network.num_nodes, dtype=bool)
            joined[edges[:, 0], edges[:, 1]] = joined[edges[:, 1], edges[:, 0]] = True
            assert not blocks[~joined].any()
            assert network.strain_directions().shape[-1] == network.dimension
        else:
            with pytest.raises(jp.InputError, match="couple the two nodes they join"):
                network.strain_directions()
        if network.kind.is_matrix:
            assert_identical(hessian[edges[:, 0], edges[:, 1]], np.asarray(network.k))
        if network.kind.strain is None:
            with pytest.raises(jp.InputError, match="whose edges feel strains"):
                network.compatibility()


def test_kinds_are_found_by_their_tags():
    found = jp.networks.network_classes()
    assert found["flow"] is jp.FlowNetwork
    assert found["test hinges"] is Hinges
    with pytest.raises(jp.InputError, match=r"`tag` must belong to one kind.*'flow' is that of FlowNetwork"):

        class Other(jp.AbstractStrainNetwork):
            kind = jp.NetworkKind(tag="flow", name="other", **WORDS)

    assert jp.networks.network_classes()["flow"] is jp.FlowNetwork


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_a_network_is_made_again_from_its_parts(build):
    network = build()
    parts = network.parts()
    assert tuple(parts) == network.kind.parts
    assert_identical(type(network).from_parts(network.topology, network.k, **parts), network)


def test_what_an_own_kind_does_not_say_is_refused_with_the_cure():
    network = of_three(Products)
    with pytest.raises(jp.InputError, match=r"override `drop_row`.*has 2 coordinates"):
        network.drop_row(0, 1)
    large = Products(jp.from_edges([(i, i + 1) for i in range(600)]), jnp.ones(600), jnp.zeros(600, int))
    with pytest.raises(jp.InputError, match=r"override `rigid_motions`.*1202 coordinates"):
        large.rigid_motions()


def test_node_rows_and_drop_rows_read_what_they_say(random):
    network = springs(2)
    x = random.normal(size=(5, 2))
    assert_close(network.node_rows([3, 1]) @ x.ravel(), x[[3, 1]].ravel(), relative=ulps(2))
    directions = np.array([[0.6, 0.8], [1.0, 0.0]])
    assert_close(
        network.node_rows([3, 1], directions) @ x.ravel(),
        np.sum(directions * x[[3, 1]], axis=1),
        relative=ulps(4),
    )
    assert flow().drop_row(4, 2).tolist() == [0.0, 0.0, -1.0, 0.0, 1.0, 0.0]
    assert node().drop_row(0, 3).tolist() == [1.0, 0.0, 0.0, -1.0]


@pytest.mark.parametrize("network", [lambda: springs(2), lambda: springs(3), periodic_springs])
def test_the_drop_row_of_a_bond_is_its_strain(network):
    """Also across a periodic border."""
    network = network()
    rows = np.array([network.drop_row(int(a), int(b)) for a, b in np.asarray(network.topology.edges)])
    assert_close(rows, np.asarray(network.compatibility())[:, 0, :], relative=ulps(10))


def test_with_k_replaces_only_k():
    network = springs(2)
    other = network.with_k(jnp.full(8, 3.0))
    assert_identical(other.k, jnp.full(8, 3.0))
    assert_identical(other.topology, network.topology)
    assert type(other) is jp.SpringNetwork
    assert float(network.k[0]) == 1.0
    # Numbers of any kind, as where it was made; several side by side.
    assert_identical(network.with_k([3] * 8).k, jnp.full(8, 3.0))
    assert network.with_k(jnp.ones((2, 8))).k.shape == (2, 8)
    # Physics is where it counts: a change of k, whose Hessian is asked for, may have any sign.
    assert_identical(network.with_k(-other.k).hessian(), -other.hessian())


def test_one_number_serves_all_edges():
    assert_identical(jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=2).k, jnp.full(2, 2.0))


@pytest.mark.float64
@pytest.mark.parametrize("kind", ["flow", "springs", "node"])
def test_single_precision_k_stays_single(kind):
    """A network keeps its own dtype in a program that otherwise computes in double precision."""
    if kind == "node":
        network = jp.NodeNetwork.from_matrix(3 * np.eye(4, dtype=np.float32))
        boundary = jp.Boundary(network)
    else:
        topology = jp.erdos_renyi(5, 8, jax.random.key(0), dimension=2, rigid=True)
        build = jp.FlowNetwork if kind == "flow" else jp.SpringNetwork
        network = build(topology, np.linspace(1.0, 2.0, 8, dtype=np.float32))
        boundary = jp.Boundary(network, free_modes="project")
    assert network.hessian().dtype == np.float32
    force = jnp.arange(network.num_coordinates, dtype=jnp.float32)
    state = equilibrate(network, boundary, force)
    assert {state.x.dtype, state.reaction.dtype, state.residual.dtype} == {np.dtype(np.float32)}
    assert int(state.status) == jp.Status.OK


def test_networks_stack_and_vmap():
    """One program computes the Hessians of different graphs."""
    networks = [jp.FlowNetwork(jp.erdos_renyi(6, 9, jax.random.key(s)), k=1.0 + s) for s in range(3)]
    together = jax.vmap(lambda network: network.hessian())(jp.stack(networks))
    assert_identical(together, jnp.stack([network.hessian() for network in networks]))
    assert np.abs(together[0] / 1.0 - together[1] / 2.0).max() > 0.5


@pytest.mark.parametrize("padding", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize("solver", [jp.StarMesh, jp.SparseCholesky])
def test_what_padding_holds_reaches_no_solver(solver, padding):
    """It carries nothing; but NaN times nothing was NaN in one solver, a negative conductance in another."""
    topology = jp.from_edges([(0, 1), (1, 2)])
    plain = jp.FlowNetwork(topology, [1.0, 3.0])
    padded = jp.FlowNetwork(topology.padded(4), [1.0, 3.0, padding, padding])
    found = []
    for network in (plain, padded):
        task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=0.3)
        chosen = solver.for_task(network, task)
        estimate = jp.ExactGradient()(network, task, solver=chosen)
        assert int(estimate.status) == jp.Status.OK
        found.append(estimate.gradient[:2])
    assert_close(found[1], found[0], relative=ulps(4))
