"""How generated texts are chosen: the sampler of `tf_mtl.tasks.Generation` and `LanguageModel`."""

from tf_mtl.samplers._base import Sampler
from tf_mtl.samplers._beam import Beam
from tf_mtl.samplers._greedy import Greedy
from tf_mtl.samplers._top_k import TopK
from tf_mtl.samplers._top_p import TopP

__all__ = ["Beam", "Greedy", "Sampler", "TopK", "TopP"]
