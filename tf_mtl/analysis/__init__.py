"""Which tasks belong together: what they label in common, what they gain from each other, and groups of them."""

from tf_mtl.analysis._affinity import Affinity, affinity
from tf_mtl.analysis._combined import combine
from tf_mtl.analysis._gains import Gain, Gains, gains
from tf_mtl.analysis._gaps import Gap
from tf_mtl.analysis._grouping import Grouping, group
from tf_mtl.analysis._intervals import Interval
from tf_mtl.analysis._overlap import Overlap, overlap
from tf_mtl.analysis._subsets import higher_order_affinity, subsets
from tf_mtl.analysis._weight_candidates import random_weights, suggested_weights, weight_grid
from tf_mtl.analysis._weights import WeightSearch, tuned_weights, weights

__all__ = [
    "Affinity",
    "Gain",
    "Gains",
    "Gap",
    "Grouping",
    "Interval",
    "Overlap",
    "WeightSearch",
    "affinity",
    "combine",
    "gains",
    "group",
    "higher_order_affinity",
    "overlap",
    "random_weights",
    "subsets",
    "suggested_weights",
    "tuned_weights",
    "weight_grid",
    "weights",
]
