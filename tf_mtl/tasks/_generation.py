"""Texts generated from a sequence."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_mtl._keys import MASK, SEQUENCE, TOKEN_IDS, key_of
from tf_mtl.layers import Decoder
from tf_mtl.tasks._text_task import TextTask

_READ = {SEQUENCE: ("a sequence [B, S, D]", 3), TOKEN_IDS: ("token ids [B, S]", 2)}


@keras.saving.register_keras_serializable("tf_mtl")
class Generation(TextTask):
    """A text generated from another one: a Transformer decoder that reads the encoder's `sequence` and `mask`.

    Translations, summaries and replies are examples. Labels are the tokens [B, T] of the text and its end token;
    `tf_mtl.data.encode_text` makes them from texts. In training and evaluation, the output is the logits [B, T, V] of
    each token given those before it; the loss is their cross-entropy. Metrics: `perplexity` and `accuracy` of tokens.

    Without labels, in `predict`, answers and exports, the decoder generates a text, which ends with an end token or at
    `length`. Decoded: `text`, and `score`, the geometric mean of its tokens' probabilities.

    Several tasks may share a decoder, such as one for each target language. `start` then says which text to write.

    Args:
        name: The task's name.
        tokenizer: A keras-hub tokenizer with an end token, such as `tf_mtl.text.learn_tokenizer` learns.
        length: The largest number of tokens T of a text, its end token included.
        decoder: The decoder; None for `tf_mtl.layers.Decoder` in its default size, as wide as the sequence. A
            `tf_mtl.encoders.CausalEncoder`, which must be the trunk's encoder, continues the input.
        start: The token before the text; None for the tokenizer's start token.
        label_smoothing: The probability that the loss spreads over all tokens.
        sampler: How texts are chosen, one of `tf_mtl.samplers`; None for `Greedy()`.
        tied: Whether the table of token embeddings is the encoder's feature `token_table`, for inputs that have the
            same `tokenizer`; see `MaskedLM`.
        text_metrics: Metrics of generated texts, such as `tf_mtl.metrics.Bleu()`, which take strings. `evaluate` and
            validation then generate a text for each row, and compare it with the text that the labels stand for.
        features: What the decoder reads, a key of the encoder's dict of features; by default "sequence", and
            "token_ids" for a `CausalEncoder`.
        **kwargs: See `Task`.

    Raises:
        TypeError: if `tokenizer` is not a tokenizer, `decoder` not a decoder, or `sampler` not a sampler.
        ValueError: for a tokenizer without an end token, an unknown `start`, or a decoder of another length or
            vocabulary.

    Reference: Vaswani et al., "Attention is all you need", NeurIPS 2017; Johnson et al., "Google's multilingual neural
    machine translation system", TACL 2017.

    Example:

    >>> texts = ["a man rides", "a woman rides"]
    >>> tokenizer = mtl.text.learn_tokenizer(texts, 300)
    >>> words = mtl.text.Words.learn(texts, length=8)
    >>> encoder = mtl.encoders.TransformerEncoder(words.vocabulary_size, max_length=8, dim=16, layers=1, heads=2)
    >>> task = mtl.tasks.Generation("summary", tokenizer, length=6)
    >>> model = mtl.build_model(words.inputs(), mtl.trunks.HardSharing(encoder), [task])
    >>> model.compile("adam")
    >>> records = tf.data.Dataset.from_tensor_slices({"text": texts, "summary": ["man", "woman"]})
    >>> rows = mtl.data.encode_text(records, words, [task], text="text")
    >>> history = model.fit(rows.padded_batch(2), verbose=0)
    >>> sorted(model.answer(texts, words)["summary"])
    ['score', 'text']
    """

    def memory(self, features: Mapping[str, keras.KerasTensor]) -> tuple[keras.KerasTensor, Any]:
        """Return the sequence and its mask.

        Raises:
            ValueError: if the encoder does not return what the decoder reads.
        """
        x = self.read(features)
        what, rank = _READ[(self.decoder or Decoder).reads]
        if len(x.shape) != rank:
            raise ValueError(
                f"Task '{self.name}' reads {what}, but features['{self.features}'] has the shape {x.shape}. Set the "
                "task's `features`, or choose another encoder."
            )
        return x, features.get(key_of(MASK, self.features))
