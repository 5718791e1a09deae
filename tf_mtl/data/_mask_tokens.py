"""Masked tokens and their labels, for masked language modelling."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl._keys import TOKEN_IDS, WORD_STARTS


def mask_tokens(
    data: tf.data.Dataset,
    task: str,
    vocabulary_size: int,
    mask_id: int,
    special_ids: Sequence[int] = (0,),
    rate: float = 0.15,
    whole_words: bool = False,
    seed: int | None = None,
) -> tf.data.Dataset:
    """Mask other tokens of texts in each pass, and add the original ones as labels of a `tf_mtl.tasks.MaskedLM`.

    Of the tokens chosen, 80 % become `mask_id`, 10 % a random id and 10 % stay unchanged; only they have a label
    weight of 1. Labels of other tasks are passed on. Texts without any labels come from
    `encode_text(records, preprocessor, tasks=[])`. `text.Words` has no mask token: take its `vocabulary_size` as
    `mask_id`, and pass `vocabulary_size + 1` to the encoder, to the task and here.

    Args:
        data: A data set of rows or batches x, (x, y) or (x, y, weight); x is token ids, or a dict with `token_ids`.
        task: The name of the task.
        vocabulary_size: The number of token ids.
        mask_id: The id of the mask token.
        special_ids: Ids that are never masked nor drawn: padding, and the marks of begin, end and mask.
        rate: The fraction of tokens that are chosen; 0.15 as in BERT.
        whole_words: Whether all tokens of a word are chosen together; x must have `word_starts`.
        seed: The seed; None for that of `keras.utils.set_random_seed`.

    Returns:
        A data set of rows or batches (x, {task: y, ...}, {task: weight, ...}).

    Raises:
        ValueError: if a number is out of range, or x lacks token ids or, for whole words, `word_starts`.

    Reference: Devlin et al., "BERT: pre-training of deep bidirectional Transformers for language understanding", NAACL
    2019.

    Example:

    >>> texts = tf.data.Dataset.from_tensor_slices(np.arange(100, 200).reshape(5, 20))
    >>> data = mtl.data.mask_tokens(texts, "mlm", vocabulary_size=1000, mask_id=1, special_ids=[0, 1], seed=0)
    >>> x, y, weight = next(iter(data))
    >>> np.array_equal(np.where(weight["mlm"] == 0, x, y["mlm"]), y["mlm"])
    True
    """
    integer("vocabulary_size", vocabulary_size, 2)
    in_range("rate", rate, 0, 1, open_low=True)
    for argument, ids in (("mask_id", [mask_id]), ("special_ids", special_ids)):
        if not all(0 <= token < vocabulary_size for token in ids):
            raise ValueError(f"`{argument}` must be from 0 to {vocabulary_size - 1}, received {ids}.")
    never = tf.constant(sorted({*special_ids}), tf.int64)
    drawn = tf.constant([token for token in range(vocabulary_size) if token not in {*special_ids}], tf.int64)
    _check(data.element_spec, whole_words)

    def masked(element, seed):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(element)
        ids = x[TOKEN_IDS] if isinstance(x, Mapping) else x
        shape, seeds = tf.shape(ids), tf.random.split(tf.stack([seed, tf.zeros_like(seed)]), 4)
        chance = tf.random.stateless_uniform(shape, seeds[0])
        if whole_words:
            word = tf.cumsum(tf.cast(tf.not_equal(x[WORD_STARTS], 0), tf.int32), -1)
            chance = tf.gather(chance, tf.maximum(word - 1, 0), batch_dims=len(ids.shape) - 1)
            chance = tf.where(word > 0, chance, 1.0)
        is_special = tf.reduce_any(tf.equal(tf.cast(ids, tf.int64)[..., None], never), -1)
        chosen = tf.logical_and(chance < rate, tf.logical_not(is_special))
        kind = tf.random.stateless_uniform(shape, seeds[1])
        others = tf.gather(drawn, tf.random.stateless_uniform(shape, seeds[2], 0, tf.size(drawn), tf.int32))
        replaced = tf.where(kind < 0.8, tf.cast(mask_id, ids.dtype), tf.cast(others, ids.dtype))
        new = tf.where(tf.logical_and(chosen, kind < 0.9), replaced, ids)
        x = {**x, TOKEN_IDS: new} if isinstance(x, Mapping) else new
        return x, {**(y or {}), task: ids}, {**(weight or {}), task: tf.cast(chosen, tf.float32)}

    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(data, seeds).map(masked, tf.data.AUTOTUNE)


def _check(spec: Any, whole_words: bool) -> None:
    x, _, _ = keras.utils.unpack_x_y_sample_weight(spec)
    needed = [TOKEN_IDS, *([WORD_STARTS] if whole_words else [])]
    if not isinstance(x, Mapping):
        needed.remove(TOKEN_IDS)
        x = {}
    missing = [name for name in needed if name not in x]
    if missing:
        raise ValueError(f"`data` must give inputs with {needed}, received {sorted(x) or 'token ids alone'}.")
