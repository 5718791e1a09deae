"""Learn sub-word vocabularies."""

import io
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.text._pieces import BLANK
from tf_mtl.text._strings import string_batches

_LONGEST = 1 << 24  # bytes of a text


def learn_tokenizer(data: Any, vocabulary_size: int, special_tokens: Sequence[str] = ()) -> Any:
    r"""Return a `keras_hub.tokenizers.SentencePieceTokenizer` learnt from texts, of one language or several.

    Detokenization restores texts exactly: nothing is normalized, blanks are kept, and characters that are not in the
    vocabulary become bytes. Only U+2581, which SentencePiece writes for a blank, becomes one. The token `<pad>` is 0,
    `<unk>` 1, `<s>` 2 and `</s>` 3; then come `special_tokens`, which never arise from a text, and 256 bytes.

    Args:
        data: Texts: a list or array, or a data set with single texts [] as elements.
        vocabulary_size: The maximum number of tokens, those named above and every character of the texts included.
        special_tokens: More tokens, such as "<de>" and "<cs>" for the languages of several tasks.

    Raises:
        TypeError: for anything but texts.
        ValueError: for no texts, duplicate special tokens, or if `vocabulary_size` leaves no room.

    Reference: Kudo, "Subword regularization", ACL 2018; Kudo & Richardson, "SentencePiece", EMNLP 2018.

    Example:

    >>> tokenizer = mtl.text.learn_tokenizer(["a man rides", "a woman  rides"], 300, special_tokens=["<de>"])
    >>> tokenizer.detokenize(tokenizer(["no  woman übt"]))[0]
    'no  woman übt'
    """
    import keras_hub
    import sentencepiece

    batches = (_checked(batch).numpy() for batch in string_batches(data))
    texts = [text.decode(errors="replace") for batch in batches for text in batch if text]
    if isinstance(special_tokens, str) or len({*special_tokens}) < len(special_tokens):
        raise ValueError(f"`special_tokens` must be a list of different tokens, received {special_tokens!r}.")
    characters = len({*"".join(texts).replace(" ", BLANK), BLANK})
    least = 4 + len(special_tokens) + 256 + characters
    if integer("vocabulary_size", vocabulary_size, 1) < least:
        raise ValueError(
            f"`vocabulary_size` must be at least {least} for these texts, received {vocabulary_size}: 260, and one for "
            f"each of {len(special_tokens)} special tokens and {characters} characters."
        )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocabulary_size,
        hard_vocab_limit=False,
        control_symbols=list(special_tokens),
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        max_sentence_length=_LONGEST,
        num_threads=1,  # for the same vocabulary every time
        minloglevel=2,
    )
    return keras_hub.tokenizers.SentencePieceTokenizer(model.getvalue())


def _checked(batch):
    if isinstance(batch, tf.RaggedTensor):
        raise TypeError("`data` must hold whole texts, received lists of words. Join them with blanks.")
    return batch
