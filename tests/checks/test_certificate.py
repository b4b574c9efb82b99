"""The certificate passes, and fails when something is broken."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_refused
from own_kinds import Hinges, of_six, of_three

import jaxphys as jp
from jaxphys.checks.certificate import (
    Check,
    Rules,
    certify,
    certify_system,
    checks_table,
    own_systems,
    systems,
)
from jaxphys.learning.rules import Contrast, CoupledLearning, EquilibriumPropagation, ExactGradient

pytestmark = pytest.mark.float64


# All but springs in space and the vector law, for time: `jaxphys verify` has them.
@pytest.mark.parametrize(
    ("network", "beside"),
    [("node", {"TrackedInverse"}), ("flow", {"StarMesh"}), ("spring 2-D", {"SparseCholesky"})],
    ids=["node", "flow", "spring"],
)
def test_everything_passes(network, beside):
    checks = certify(networks=[network])
    assert {check.network for check in checks} == {network}
    assert {check.solver for check in checks} == {"Dense", "BorderedLU"} | beside
    assert len({check.boundary for check in checks}) == 5
    failed = [check for check in checks if not check.passed]
    assert failed == []
    assert f"{len(checks)} of {len(checks)} checks passed" in checks_table(checks)


def changed(rule, change):
    """A rule with other contrasts, `change(contrast)` in place of each."""

    class Changed(rule):
        def contrasts(self, response, task):
            found, converged = super().contrasts(response, task)
            return [change(contrast) for contrast in found], converged

    return Changed


def pushed(change):
    """Contrasts with changed output forces."""
    return lambda contrast: Contrast(change(contrast.forces), contrast.nudge, contrast.weight)


def failing(rules, boundary="forces, projected", groups=("learning", "conservation")):
    """The names of the checks of flow networks that fail under one boundary."""
    system = next(s for s in systems() if (s.network_name, s.boundary_name) == ("flow", boundary))
    return {check.name for check in certify_system(system, groups=groups, rules=rules) if not check.passed}


def test_a_rule_that_is_a_thousandth_off_fails():
    names = failing(Rules(exact=changed(ExactGradient, pushed(lambda forces: 1.001 * forces))))
    assert names == {"exact gradient against jax.grad", "forces, exact gradient: k·g = -⟨c'·y⟩"}


def test_a_nudge_of_the_wrong_order_fails():
    names = failing(Rules(propagation=changed(EquilibriumPropagation, pushed(lambda forces: forces + 1e-3))))
    assert "equilibrium propagation, force: order in η" in names
    assert "equilibrium propagation, energy, symmetric: order" in names
    assert "equilibrium propagation, force, symmetric: exact" in names


def test_coupled_learning_that_forgets_the_coupling_fails():
    names = failing(Rules(coupled=changed(CoupledLearning, pushed(lambda forces: 1.0001 * forces))))
    scaling = "forces, coupled learning: k·g = ⟨a·y⟩ + η⟨a·G_TT a⟩/2"
    assert names == {"coupled learning as η → 0 against G_TT⁻¹ r", scaling}


def test_a_contrast_that_forgets_a_half_is_not_conserved():
    """Published code drops the ½ of the energies; as η → 0, and in its order, nobody sees that.

    The nudge of a contrast enters by the term that is quadratic in the forces alone.
    """

    def doubled(contrast):
        nudge = None if contrast.nudge is None else 2 * contrast.nudge
        return Contrast(contrast.forces, nudge, contrast.weight)

    rules = Rules(
        *(changed(rule, doubled) for rule in (ExactGradient, EquilibriumPropagation, CoupledLearning))
    )
    kinds = ("force", "energy", "energy, symmetric", "coupled learning")
    assert failing(rules, "held nodes", ["conservation"]) == {
        f"held values, {kind}: k·g = η⟨a·G_TT a⟩/2" for kind in kinds
    } | {f"forces, {kind}: k·g = ⟨a·y⟩ + η⟨a·G_TT a⟩/2" for kind in kinds}


def test_a_gradient_that_moves_the_scale_is_not_conserved():
    """A hundred-thousandth of k, added to every estimate."""

    def drifting(rule):
        class Drifting(rule):
            def measure(self, network, task, response):
                estimate, moment = super().measure(network, task, response)
                gradient = estimate.gradient + 1e-5 * network.k
                return eqx.tree_at(lambda e: e.gradient, estimate, gradient), moment

        return Drifting

    rules = Rules(*(drifting(rule) for rule in (ExactGradient, EquilibriumPropagation, CoupledLearning)))
    names = failing(rules, "held nodes", ["conservation"])
    assert "held values, exact gradient: k·g = 0" in names
    assert "held values, force, symmetric: k·g = 0" in names
    assert "held values, plain steps: Σk² grows by α²|g|²" in names
    assert "held values, flow in a metric: Σk²/m stays" in names


def test_nan_fails():
    check = Check("x", "flow", "b", "Dense", float("nan"), 0.0, 1e-10)
    assert not check.passed
    assert "FAILED" in checks_table([check])
    assert bool(jnp.isnan(check.measured))


def test_names_are_checked():
    assert_refused("networks", certify, networks=["tree"])
    assert_refused("groups", certify_system, next(systems()), groups=["luck"])


def test_a_network_of_your_own_is_certified():
    """Three nodes at an edge, and two rigid motions: more is held than these can meet."""
    network = of_six()
    system = own_systems(network)[2]
    assert system.boundary_name == "held nodes"
    checks = certify_system(system, groups=["forms", "conservation"])
    assert [check for check in checks if not check.passed] == []
    assert {check.network for check in checks} == {"row of hinges"}


def test_a_form_or_a_claim_that_is_wrong_fails():
    class Careless(Hinges):
        kind = dataclasses.replace(Hinges.kind, tag="test careless", structure="laplacian")

        def edge_moment(self, x, y, moment):
            return 1.001 * super().edge_moment(x, y, moment)

        def rigid_motions(self):
            return np.eye(1, self.num_nodes)

    checks = certify(networks=[of_six(Careless, (0, 2, 5))], groups=["forms"])
    assert {check.name for check in checks if not check.passed} == {
        "edge moment against derivatives of the energies",
        "rigid motions: no edge pulls",
        "Hessian as its kind says",
    }


def test_networks_of_your_own_are_checked():
    assert_refused("networks", certify, networks=[of_three(Hinges)], saying="6 nodes or more, but one has 5")
    assert_refused("networks", certify, networks=[jp.stack([of_six(), of_six()])], saying="be one network")
