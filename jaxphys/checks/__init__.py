"""Correctness and speed on this machine: what `jaxphys verify` and `jaxphys bench` compute."""
