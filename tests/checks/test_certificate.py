"""The certificate passes, and fails when something is broken."""

import equinox as eqx
import jax.numpy as jnp
import pytest
from helpers import assert_refused, forget_compiled_rules

from jaxphys.checks import certificate
from jaxphys.checks.certificate import NETWORKS, certify, format_table
from jaxphys.learning import rules

pytestmark = pytest.mark.float64


def test_everything_passes():
    """All but springs in space and the vector law, for time: `jaxphys verify` has them."""
    networks = NETWORKS[:3]
    checks = certify(networks=networks)
    assert {check.network for check in checks} == set(networks)
    solvers = {"Dense", "BorderedLU", "StarMesh", "SparseCholesky", "TrackedInverse"}
    assert {check.solver for check in checks} == solvers
    assert len({check.boundary for check in checks}) == 5
    failed = [check for check in checks if not check.passed]
    assert failed == []
    assert f"{len(checks)} of {len(checks)} checks passed" in format_table(checks)


def failing(boundary, *rooms):
    """The names of the checks of flow networks that fail under one boundary."""
    system = next(s for s in certificate.systems() if (s.network_name, s.boundary_name) == ("flow", boundary))
    return {check.name for room in rooms for check in room(system) if not check.passed}


def broken(monkeypatch, rule, change):
    """Replace a rule's output forces by changed ones, and return the names of the checks that fail."""
    contrasts = rule.contrasts

    def changed(self, response, task):
        found, converged = contrasts(self, response, task)
        return [rules.Contrast(change(c.forces), c.nudge, c.weight) for c in found], converged

    monkeypatch.setattr(rule, "contrasts", changed)
    forget_compiled_rules(monkeypatch)
    return failing("forces, projected", certificate._learning_checks, certificate._conservation_checks)


def test_a_rule_that_is_a_thousandth_off_fails(monkeypatch):
    names = broken(monkeypatch, rules.ExactGradient, lambda forces: 1.001 * forces)
    assert names == {"exact gradient against jax.grad", "forces, exact gradient: k·g = -⟨c'·y⟩"}


def test_a_nudge_of_the_wrong_order_fails(monkeypatch):
    names = broken(monkeypatch, rules.EquilibriumPropagation, lambda forces: forces + 1e-3)
    assert "equilibrium propagation, force: order in η" in names
    assert "equilibrium propagation, energy, symmetric: order" in names
    assert "equilibrium propagation, force, symmetric: exact" in names


def test_coupled_learning_that_forgets_the_coupling_fails(monkeypatch):
    names = broken(monkeypatch, rules.CoupledLearning, lambda forces: 1.0001 * forces)
    scaling = "forces, coupled learning: k·g = ⟨a·y⟩ + η⟨a·G_TT a⟩/2"
    assert names == {"coupled learning as η → 0 against G_TT⁻¹ r", scaling}


def test_a_contrast_that_forgets_a_half_is_not_conserved(monkeypatch):
    """Published code drops the ½ of the energies; as η → 0, and in its order, nobody sees that."""
    differences = rules._energy_differences

    def doubled(task, contrasts):
        mixed, quadratic = differences(task, contrasts)
        return mixed, None if quadratic is None else 2 * quadratic

    monkeypatch.setattr(rules, "_energy_differences", doubled)
    forget_compiled_rules(monkeypatch)
    kinds = ("force", "energy", "energy, symmetric", "coupled learning")
    assert failing("held nodes", certificate._conservation_checks) == {
        f"held values, {kind}: k·g = η⟨a·G_TT a⟩/2" for kind in kinds
    } | {f"forces, {kind}: k·g = ⟨a·y⟩ + η⟨a·G_TT a⟩/2" for kind in kinds}


def test_a_gradient_that_moves_the_scale_is_not_conserved(monkeypatch):
    """A hundred-thousandth of k, added to every estimate."""
    measure = rules.AbstractRule.measure

    def pulled(self, network, task, response):
        estimate, moment = measure(self, network, task, response)
        gradient = estimate.gradient + 1e-5 * network.k
        return eqx.tree_at(lambda e: e.gradient, estimate, gradient), moment

    monkeypatch.setattr(rules.AbstractRule, "measure", pulled)
    forget_compiled_rules(monkeypatch)
    conserved = certificate._conserved.__wrapped__
    monkeypatch.setattr(certificate, "_conserved", eqx.filter_jit(lambda *given: conserved(*given)))
    names = failing("held nodes", certificate._conservation_checks)
    assert "held values, exact gradient: k·g = 0" in names
    assert "held values, force, symmetric: k·g = 0" in names
    assert "held values, plain steps: Σk² grows by α²|g|²" in names
    assert "held values, flow in a metric: Σk²/m stays" in names


def test_nan_fails():
    check = certificate.Check("x", "flow", "b", "Dense", float("nan"), 0.0, 1e-10)
    assert not check.passed
    assert "FAILED" in format_table([check])
    assert bool(jnp.isnan(check.measured))


def test_networks_are_checked():
    assert_refused("networks", certify, networks=["tree"])
