"""Small tokenizers of each kind, and the texts that they are trained on."""

import functools
import io
import json

import keras_hub
import sentencepiece
import tokenizers

TEXTS = [
    "So it goes (and goes), he said: isn't it so?",
    "Zoë's café costs 3.50 a cup!",
    "it goes without saying",
    "unaffordable goings-on at http://a.b/c",
]


def bert(lowercase=True):
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["so", "go", "##es", "##ing", "un", "##afford", "##able", "cafe", "said", "日"]
    marks = list("(),:;.!?'\"-/@#$%&*+<=>[]^_`{|}~\\")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), *pieces, *marks]
    return keras_hub.tokenizers.BertTokenizer(vocabulary, lowercase=lowercase, strip_accents=lowercase)


@functools.cache
def byte_pairs():
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(TEXTS * 9, vocab_size=300, special_tokens=special, show_progress=False)
    vocabulary = tokenizer.get_vocab()
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return vocabulary, [" ".join(pair) for pair in merges]


def roberta(**options):
    return keras_hub.tokenizers.RobertaTokenizer(*byte_pairs(), **options)


def gpt2(**options):
    """A vocabulary that lacks the token of one byte."""
    vocabulary, merges = byte_pairs()
    renamed = {"<|endoftext|>" if token == "</s>" else token: i for token, i in vocabulary.items()}
    del renamed["<unk>"], renamed["¾"]
    return keras_hub.tokenizers.GPT2Tokenizer(renamed, merges, **options)


@functools.cache
def proto(*options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 9),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **dict(options),
    )
    return model.getvalue()


def albert():
    ids = {"unk_id": 1, "bos_id": 2, "eos_id": 3, "pad_id": 0}
    pieces = {"pad_piece": "<pad>", "unk_piece": "<unk>", "bos_piece": "[CLS]", "eos_piece": "[SEP]"}
    return keras_hub.tokenizers.AlbertTokenizer(proto(*(ids | pieces | {"user_defined_symbols": "[MASK]"}).items()))


def xlm_roberta():
    return keras_hub.tokenizers.XLMRobertaTokenizer(proto(*{"unk_id": 0, "bos_id": 1, "eos_id": 2}.items()))


TOKENIZERS = {"bert": bert, "roberta": roberta, "albert": albert, "xlm_roberta": xlm_roberta}
