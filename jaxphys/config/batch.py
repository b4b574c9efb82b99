"""Realizations of one config, or of several that one compiled program trains side by side."""

import dataclasses
from collections.abc import Hashable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxphys.config import schema
from jaxphys.config._build import (
    Arguments,
    ChooseSolver,
    configured_bounds,
    draw,
    key_of_training,
    make_integrator,
    make_rule,
    training_arguments,
)
from jaxphys.config.schema import RunConfig
from jaxphys.config.toml import dump_config
from jaxphys.learning import Task
from jaxphys.training._train import member, own_bounds, own_keys, own_numbers
from jaxphys.training.steps import Realizations


class Batch:
    """The realizations of `configs` one config after another; those of several must have one `likeness`.

    **Attributes**: `configs`; `begins`: number of the first realization of each, and of all.
    """

    def __init__(self, configs: Sequence[RunConfig]):
        self.configs = tuple(configs)
        self.begins = np.cumsum([0, *(config.realizations for config in configs)]).tolist()
        rules = {config.rule for config in configs}
        # Numbers that all share are constants of the program.
        self._has_own_rules = len(rules) > 1
        self._has_own_rates = len(self.configs) > 1 and _rate_is_free(configs[0])

    @property
    def realizations(self) -> int:
        """How many there are."""
        return self.begins[-1]

    def draw(self, first: int, last: int) -> tuple[Realizations, Task | None]:
        """Realizations from `first` to before `last`, and their test tasks (or None).

        Each is drawn as by its config alone. Raises `InputError` where a config cannot be.
        """
        found = []
        for config, begin, end in zip(self.configs, self.begins[:-1], self.begins[1:], strict=True):
            numbers = range(max(first, begin) - begin, min(last, end) - begin)
            if numbers:
                found.append(self._draw_of(config, numbers))
        return jax.tree.map(_joined, *found)

    def arguments(self, drawn: Realizations) -> tuple[Arguments, ChooseSolver]:
        """What all share with what was `drawn`, and what chooses the solver of a block."""
        return training_arguments(self._shared_config(self.configs[0]), drawn.network, drawn.task)

    def _shared_config(self, config: RunConfig) -> RunConfig:
        """A config without the rate that each of them has of its own."""
        if not self._has_own_rates:
            return config
        return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, rate=1.0))

    def _draw_of(self, config: RunConfig, numbers: range) -> tuple[Realizations, Task | None]:
        network, task, test = draw(config, numbers.start, numbers.stop)
        rule = integrator = None
        if self._has_own_rules:
            rule = own_numbers("rule", [make_rule(config.rule)] * len(numbers))
        if self._has_own_rates:
            shared = make_integrator(self._shared_config(config), member(network, 0))
            own = dataclasses.replace(shared, rate=config.optimizer.rate)  # type: ignore[call-arg]
            integrator = own_numbers("optimizer", [own] * len(numbers))
        bounds = own_bounds(configured_bounds(config), network)
        keys = own_keys(key_of_training(config), numbers)
        return Realizations(network, task, keys, rule, integrator, bounds), test


def _joined(*parts: PyTree) -> PyTree:
    if len(parts) == 1 or not eqx.is_array(parts[0]):
        return parts[0]
    if jax.dtypes.issubdtype(parts[0].dtype, jax.dtypes.prng_key):
        return jnp.concatenate(parts)
    # On the host: nothing needs to be compiled for these shapes alone.
    return jnp.asarray(np.concatenate(parts))


def _rate_is_free(config: RunConfig) -> bool:
    """Whether the learning rate is but a factor of the gradient, and may differ between realizations."""
    return config.optimizer.kind == "sgd" and isinstance(config.integrator, schema.Steps)


def likeness(config: RunConfig) -> tuple[Hashable, ...]:
    """Equal for configs that may share a batch: of like shapes, and alike in all but numbers that may differ.

    These are the seed, the number of realizations, all that networks and tasks are drawn from, the rule's
    nudge, and the learning rate of plain descent. Raises `InputError` where the config cannot be.
    """
    network, task, test = draw(config, 0, 1)
    training_arguments(config, network, task)
    arrays, rest = eqx.partition((network, task, test), eqx.is_array)
    shapes = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arrays)]
    rule, optimizer = config.rule, config.optimizer
    if not isinstance(rule, schema.ExactGradient):
        rule = dataclasses.replace(rule, nudge=1.0)
    if _rate_is_free(config):
        optimizer = dataclasses.replace(optimizer, rate=1.0)
    alike = dataclasses.replace(
        config,
        seed=0,
        realizations=1,
        network=schema.Node(),
        task=schema.RandomLinear(),
        rule=rule,
        optimizer=optimizer,
        versions={},
    )
    kinds = (config.network.kind, config.task.kind)
    return (jax.tree.structure(rest), tuple(jax.tree.leaves(rest)), tuple(shapes), kinds, dump_config(alike))
