"""Guzman et al. (2024), "Microscopic imprints of learned solutions in adaptive resistor networks"."""
