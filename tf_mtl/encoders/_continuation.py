"""How a decoder-only language model of keras-hub continues given tokens with a text."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._keys import PADDING_MASK, TOKEN_IDS
from tf_mtl.layers._decoding import Decoding
from tf_mtl.layers._valid_first import valid_first

_GENERATES = [["token_ids"], ["token_ids", "cache", "cache_update_index"]]


class Continuation:
    """Texts behind given tokens [B, S], of which each row has its own number, [B]; a start token is between them.

    Args:
        backbone: A backbone of a class for which keras-hub has a `CausalLM`.

    Raises:
        TypeError: for another backbone.
    """

    def __init__(self, backbone: keras.Model):
        model = _causal_lm_class(backbone)(backbone=backbone, preprocessor=None)
        generates = getattr(model, "_build_cache", None), getattr(model, "call_with_cache", None)
        if backbone not in model.layers or [*map(_required, generates)] != _GENERATES:
            raise TypeError(
                f"`backbone` is not supported: {type(model).__name__} of keras-hub generates from other things than "
                f"tokens and a cache. Received {backbone!r}."
            )
        hidden = backbone._inbound_nodes[-1].output_tensors[0]
        self._backbone, self._model, self._head = backbone, model, keras.Model(hidden, model.output)

    def logits(self, given: tf.Tensor, counts: tf.Tensor, tokens: tf.Tensor, start: int, training: Any) -> tf.Tensor:
        """Return the logits [B, T, V] of each token of texts from what is before it.

        Args:
            given: The given tokens, those that count first.
            counts: The number of those that count.
            tokens: The texts, [B, T].
            start: The token before a text.
            training: Whether dropout is in force.
        """
        length = tf.shape(tokens)[1]
        texts = tf.concat([_column(tokens, start), tokens[:, :-1]], 1)[:, :length]
        ids, mask = _joined(given, counts, texts)
        ids = self._fitting(ids)
        x = self._backbone({TOKEN_IDS: ids, PADDING_MASK: mask}, training=training)
        x = tf.gather(x, counts[:, None] + tf.range(length), batch_dims=1)
        return tf.cast(self._head(x, training=training), tf.float32)

    def generated(
        self,
        given: tf.Tensor,
        counts: tf.Tensor,
        length: int,
        start: int,
        end: int,
        padding: int,
        sampler: Callable[[Decoding], tuple[tf.Tensor, tf.Tensor]],
    ) -> tf.Tensor:
        """Return the tokens of generated texts and their log-probabilities, [B, T, 2]; see `logits`.

        Args:
            given: The given tokens, those that count first.
            counts: The number of those that count.
            length: The largest number of tokens T of a text.
            start: The token before a text.
            end: The token that ends one.
            padding: The token after the end.
            sampler: What chooses the tokens.
        """
        given, _ = _joined(given, counts, _column(given, start))
        counts += 1
        ids = tf.pad(given, [[0, 0], [0, length]], constant_values=padding)
        ids = self._fitting(ids)
        _, cache = self._model._build_cache(ids)
        # Rows that were given more tokens go on reading while others are written. With no rows, there is no minimum.
        read_by_all = tf.minimum(tf.reduce_min(counts), tf.shape(given)[1])

        def next_logits(tokens, index, cache):
            logits, _, new = self._model.call_with_cache(tokens[:, None], cache, index)
            return tf.cast(logits[:, 0], tf.float32), tf.ensure_shape(new, cache.shape)

        def step(tokens, position, cache, context):
            given, counts = context
            index = read_by_all + position - 1
            own = tf.gather(given, tf.minimum(index, tf.shape(given)[1] - 1), axis=1)
            return next_logits(tf.where(index < counts, own, tokens), index, cache)

        logits, cache = next_logits(tf.gather(given, read_by_all - 1, axis=1), read_by_all - 1, cache)
        decoding = Decoding(logits, cache, (given, counts), step, length, end, padding, counts - read_by_all)
        tokens, log_probabilities = sampler(decoding)
        return tf.stack([tf.cast(tokens, tf.float32), log_probabilities], -1)

    def _fitting(self, ids):
        """Return the tokens, or raise where they are more than the backbone has positions for."""
        limit = getattr(self._backbone, "max_sequence_length", None)
        if limit is None:
            return ids
        size = tf.shape(ids)[1]
        message = (
            f"`backbone` has max_sequence_length={limit} and needs a position for each token of an input, the start "
            "token and a text. Shorten the inputs or `length`."
        )
        known = tf.get_static_value(size)
        if known is not None and known > limit:
            raise ValueError(f"{message} Received {known} tokens.")
        with tf.control_dependencies([tf.debugging.assert_less_equal(size, limit, message)]):
            return tf.identity(ids)


def first(ids: tf.Tensor, valid: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Return token ids [B, S] with the valid ones of each row moved to its front, and how many these are, [B]."""
    if valid is None:
        return ids, tf.fill([tf.shape(ids)[0]], tf.shape(ids)[1])
    valid = tf.cast(valid, tf.bool)
    return tf.gather(ids, valid_first(valid), batch_dims=1), tf.reduce_sum(tf.cast(valid, tf.int32), 1)


def _causal_lm_class(backbone):
    """keras-hub's causal language model around a backbone."""
    import keras_hub

    classes = [keras_hub.models.CausalLM]
    for each in classes:
        if each.backbone_cls is type(backbone):
            return each
        classes += each.__subclasses__()
    raise TypeError(
        "`backbone` must be one for which keras-hub has a CausalLM, such as keras_hub.models.GPT2Backbone, received "
        f"{backbone!r}."
    )


def _required(function):
    """The names of the arguments that a function requires."""
    arguments = inspect.signature(function).parameters.values() if function else ()
    return [argument.name for argument in arguments if argument.default is argument.empty]


def _column(ids, token):
    return tf.fill([tf.shape(ids)[0], 1], token)


def _joined(given, counts, texts):
    """Each row's given tokens followed by its text, [B, S + T], and which positions hold one of them."""
    size, length = tf.shape(given)[1], tf.shape(texts)[1]
    position, counts = tf.range(size + length), counts[:, None]
    index = tf.where(position < counts, position, tf.minimum(size + position - counts, size + length - 1))
    return tf.gather(tf.concat([given, texts], 1), index, batch_dims=1), position < counts + length
