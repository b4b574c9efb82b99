"""Correctness and speed on this machine: what `jaxphys verify` and `jaxphys bench` compute."""

from jaxphys.checks.certificate import Check, certify, checks_table

__all__ = ["Check", "certify", "checks_table"]
