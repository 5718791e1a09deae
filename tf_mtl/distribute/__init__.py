"""Training on several devices and machines."""

from tf_mtl.distribute._strategy import describe, strategy
from tf_mtl.distribute._workers import is_chief

__all__ = ["describe", "is_chief", "strategy"]
