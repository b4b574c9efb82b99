"""A run as data: typed keys (`schema`), TOML in and out (`toml`), objects made from it (`build`)."""

from jaxphys.config.build import Ensemble, build, draw, training_arguments
from jaxphys.config.schema import RunConfig
from jaxphys.config.toml import describe, dump_config, load_config, parse_config

__all__ = [
    "Ensemble",
    "RunConfig",
    "build",
    "describe",
    "draw",
    "dump_config",
    "load_config",
    "parse_config",
    "training_arguments",
]
