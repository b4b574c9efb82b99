"""A training, a batch of them or a sweep as a folder."""
