"""Functionals of a network: what learning leaves behind. One function per quantity."""
