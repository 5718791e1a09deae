"""Keras optimizers: the one place that knows their internals, and learning rates by layer."""
