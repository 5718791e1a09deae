"""Language models."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_mtl.encoders import CausalEncoder
from tf_mtl.layers import Decoder
from tf_mtl.tasks._text_task import TextTask, check_decoder


@keras.saving.register_keras_serializable("tf_mtl")
class LanguageModel(TextTask):
    """Texts, each token given those before it: the decoder of `Generation` without a text to read.

    Beside `Generation`, with the same decoder, it learns from texts of the target language alone. In place of a
    sequence, cross-attention then reads zeros. With a `tf_mtl.encoders.CausalEncoder`, it trains the backbone that
    other tasks read, on texts without labels. A text does not depend on its row's inputs, but every row must have all
    inputs of the model: where there is no source text, pass padding.

    Labels, output, loss, metrics and answers are those of `Generation`. An answer is a text that the model makes up,
    the same for all rows.

    Args:
        name: The task's name.
        tokenizer: A keras-hub tokenizer with an end token.
        decoder: A `tf_mtl.layers.Decoder`, commonly that of a `Generation`, or the trunk's
            `tf_mtl.encoders.CausalEncoder`.
        features: As for `Generation`; the task reads nothing but its shape.
        **kwargs: See `Generation`; `length` is the decoder's.

    Raises:
        TypeError: as `Generation`.
        ValueError: as `Generation`.

    Reference: Gulcehre et al., "On using monolingual corpora in neural machine translation", arXiv 2015; Domhan &
    Hieber, "Using target-side monolingual data for neural machine translation through multi-task learning", EMNLP 2017.

    Example:

    >>> tokenizer = mtl.text.learn_tokenizer(["ein Mann", "eine Frau"], 300)
    >>> decoder = mtl.layers.Decoder(tokenizer.vocabulary_size(), length=8, dim=16, layers=1, heads=2)
    >>> tasks = [
    ...     mtl.tasks.Generation("german", tokenizer, length=8, decoder=decoder),
    ...     mtl.tasks.LanguageModel("german_texts", tokenizer, decoder),
    ... ]
    >>> encoder = mtl.encoders.TransformerEncoder(50, max_length=8, dim=16, layers=1, heads=2)
    >>> inputs = {"token_ids": keras.Input((8,), dtype="int32", name="token_ids")}
    >>> model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), tasks)
    >>> [layer.tasks for layer in model.describe_sharing(None).layers]
    [('german',), ('german', 'german_texts')]
    """

    decoder: Decoder | CausalEncoder

    def __init__(self, name: str, tokenizer: Any, decoder: Decoder | CausalEncoder, **kwargs: Any):
        check_decoder(name, decoder)
        super().__init__(name, tokenizer, decoder=decoder, **{"length": decoder.length, **kwargs})

    def memory(self, features: Mapping[str, keras.KerasTensor]) -> tuple[keras.KerasTensor, Any]:
        """Return an empty input for the decoder."""
        self.check_features(features)
        return self.decoder.empty_memory(features[self.features], f"{self.name}_nothing"), None
