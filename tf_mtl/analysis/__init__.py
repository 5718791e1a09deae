"""Which tasks belong together, and what trained models have learnt.

Of tasks: what they label in common, what they gain from each other, and groups of them. Of a trained model: the
features, gates and adapters of its tasks, and the inputs that an output depends on.
"""

from tf_mtl.analysis._adapters import adapter_norms
from tf_mtl.analysis._affinity import Affinity, affinity
from tf_mtl.analysis._attribution import Attribution, attribution
from tf_mtl.analysis._cka import Similarity, cka, similarity
from tf_mtl.analysis._combined import combine
from tf_mtl.analysis._gains import Gain, Gains, gains
from tf_mtl.analysis._gaps import Gap
from tf_mtl.analysis._gates import GateWeights, gates
from tf_mtl.analysis._grouping import Grouping, group
from tf_mtl.analysis._intervals import Interval
from tf_mtl.analysis._overlap import Overlap, overlap
from tf_mtl.analysis._probe import Probes, probe
from tf_mtl.analysis._subsets import higher_order_affinity, subsets
from tf_mtl.analysis._tuned_weights import tuned_weights
from tf_mtl.analysis._weight_candidates import random_weights, suggested_weights, weight_grid
from tf_mtl.analysis._weight_search import WeightSearch
from tf_mtl.analysis._weights import weights

__all__ = [
    "Affinity",
    "Attribution",
    "Gain",
    "Gains",
    "Gap",
    "GateWeights",
    "Grouping",
    "Interval",
    "Overlap",
    "Probes",
    "Similarity",
    "WeightSearch",
    "adapter_norms",
    "affinity",
    "attribution",
    "cka",
    "combine",
    "gains",
    "gates",
    "group",
    "higher_order_affinity",
    "overlap",
    "probe",
    "random_weights",
    "similarity",
    "subsets",
    "suggested_weights",
    "tuned_weights",
    "weight_grid",
    "weights",
]
