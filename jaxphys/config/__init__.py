"""A run as data: typed keys, TOML in and out, objects made from it, one by one or in batches and sweeps."""

from jaxphys.config._build import Ensemble, build, draw, read_samples, training_arguments
from jaxphys.config.batch import Batch, likeness
from jaxphys.config.schema import RunConfig
from jaxphys.config.sweep import Point, Sweep, load_sweep, parse_sweep
from jaxphys.config.toml import describe, dump_config, load_config, parse_config, read_table

__all__ = [
    "Batch",
    "Ensemble",
    "Point",
    "RunConfig",
    "Sweep",
    "build",
    "describe",
    "draw",
    "dump_config",
    "likeness",
    "load_config",
    "load_sweep",
    "parse_config",
    "parse_sweep",
    "read_samples",
    "read_table",
    "training_arguments",
]
