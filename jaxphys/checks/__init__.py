"""Correctness and speed on this machine: what `jaxphys verify` and `jaxphys bench` compute."""

from jaxphys.checks.certificate import Check, certify, format_table

__all__ = ["Check", "certify", "format_table"]
