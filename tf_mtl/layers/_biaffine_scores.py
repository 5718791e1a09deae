"""Scores of the arcs between words and of their relations."""

from typing import Any

import keras

from tf_mtl.layers._mask_scores import MaskScores


@keras.saving.register_keras_serializable("tf_mtl")
class BiaffineScores(keras.layers.Layer):
    """Scores of each word's possible heads, and of the relations to each of them.

    Its inputs are four sequences, as a list: words as heads and as dependents [B, W, A], from which arcs are scored,
    and words as heads and as dependents [B, W, L], from which relations are scored. A learnt vector represents the root
    as a head. The outputs [B, W, W + 1, 1 + R] are the scores of arcs and of relations. Head 0 is the root.

    Args:
        relations: The number R of relations.
        **kwargs: See `keras.layers.Layer`; the layer computes in float32 under any precision policy.
    """

    def __init__(self, relations: int, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.relations = relations
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Create the vectors of the root and the kernels."""
        arc_units, relation_units = input_shape[0][-1], input_shape[2][-1]
        self.arc_root = self._root("arc_root", arc_units)
        self.arc_kernel = self._kernel("arc_kernel", 1, arc_units, arc_units + 1)
        self.relation_root = self._root("relation_root", relation_units)
        kernel_size = relation_units + 1
        self.relation_kernel = self._kernel("relation_kernel", self.relations, kernel_size, kernel_size)

    def call(self, inputs: Any) -> Any:
        """Return the scores."""
        arc_heads, arc_dependents, relation_heads, relation_dependents = inputs
        arc_heads = _with_root(arc_heads, self.arc_root)
        relation_heads = _with_one(_with_root(relation_heads, self.relation_root))
        arcs = _biaffine(arc_heads, self.arc_kernel, _with_one(arc_dependents))
        relations = _biaffine(relation_heads, self.relation_kernel, _with_one(relation_dependents))
        return keras.ops.concatenate([arcs, relations], axis=-1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the mask of the words."""
        return mask[0] if isinstance(mask, list | tuple) else mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the scores."""
        rows, words = input_shape[0][:2]
        return rows, words, None if words is None else words + 1, 1 + self.relations

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "relations": self.relations}

    def _root(self, name: str, units: int) -> keras.Variable:
        return self.add_weight(shape=(units,), initializer="uniform", name=name)

    def _kernel(self, name: str, scores: int, head_units: int, dependent_units: int) -> keras.Variable:
        """A kernel for which scores of inputs of size 1 have size 1, whatever the number of units."""
        initializer = keras.initializers.RandomNormal(stddev=(head_units * dependent_units) ** -0.5)
        return self.add_weight(shape=(scores, head_units, dependent_units), initializer=initializer, name=name)


@keras.saving.register_keras_serializable("tf_mtl")
class MaskArcs(MaskScores):
    """Marks arcs from or to masked words: all their scores [B, W, W + 1, C] become -1e9.

    `MaskScores.valid_mask(scores)` then recovers the words' mask from the scores.
    """

    def _counted(self, is_valid: Any) -> Any:
        is_head = keras.ops.pad(is_valid, [[0, 0], [1, 0]], constant_values=True)
        return keras.ops.logical_and(is_valid[:, :, None], is_head[:, None, :])


def _biaffine(heads: Any, kernels: Any, dependents: Any) -> Any:
    """Return heads' kernels' dependents for all pairs, [B, W, W + 1, C]."""
    products = keras.ops.einsum("bdj,cij->bdci", dependents, kernels)
    return keras.ops.einsum("bhi,bdci->bdhc", heads, products)


def _with_root(heads: Any, root: Any) -> Any:
    roots = keras.ops.broadcast_to(root, (keras.ops.shape(heads)[0], 1, root.shape[0]))
    return keras.ops.concatenate([roots, heads], axis=1)


def _with_one(x: Any) -> Any:
    """Return vectors with a further entry, 1, whose products are linear and constant terms."""
    return keras.ops.concatenate([x, keras.ops.ones_like(x[..., :1])], axis=-1)
