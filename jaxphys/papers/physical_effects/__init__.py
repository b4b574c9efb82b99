"""Stern et al. (2023), "The physical effects of learning", figure by figure."""
