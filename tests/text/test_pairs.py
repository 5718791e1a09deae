"""Pairs of texts as one row: like keras-hub's packers, truncated longest first, in training, answers and exports."""

import itertools
import warnings

import keras
import keras_hub
import numpy as np
import pytest
import small_tokenizers as small
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.text._pairs import longest_first

PAIR = ("question", "sentence")
FIRST = ["it goes without saying", "so it goes", "so", "unaffordable café", "so it goes so it goes so it goes"]
SECOND = ["so", "unaffordable café so it", "so", "it goes without saying so", "so it goes without saying so it goes"]
CLASSIFIER_PREPROCESSORS = {
    "bert": keras_hub.models.BertTextClassifierPreprocessor,
    "roberta": keras_hub.models.RobertaTextClassifierPreprocessor,
    "albert": keras_hub.models.AlbertTextClassifierPreprocessor,
    "xlm_roberta": keras_hub.models.XLMRobertaTextClassifierPreprocessor,
}


def pairs(first, second):
    return dict(zip(PAIR, (first, second), strict=True))


def subwords(length=12, kind="bert", pair=PAIR):
    return mtl.text.Subwords(small.TOKENIZERS[kind](), length, pair)


def words(length=6, pair=PAIR):
    return mtl.text.Words(["so", "it", "goes", "on"], length, pair=pair)


def keras_hubs_inputs(kind, pre):
    preprocessor = CLASSIFIER_PREPROCESSORS[kind](pre.tokenizer, sequence_length=pre.length)
    return preprocessor(x=(tf.constant(FIRST), tf.constant(SECOND)))


def as_lists(inputs):
    return {name: np.asarray(value).tolist() for name, value in inputs.items()}


@pytest.mark.parametrize("kind", small.TOKENIZERS)
def test_rows_are_those_of_keras_hubs_text_classifiers(kind):
    """Also where they are truncated: its "round_robin" keeps the same tokens."""
    pre = subwords(16, kind)
    inputs, expected = pre(pairs(FIRST, SECOND)), keras_hubs_inputs(kind, pre)
    assert {(x.dtype, x.shape) for x in inputs.values()} == {(tf.int32, (5, 16))}
    assert 0 < np.count_nonzero(inputs["padding_mask"][:, -1]) < 5
    assert expected.keys() == inputs.keys() - {"word_starts", *({"segment_ids"} if "roberta" in kind else ())}
    for name, value in expected.items():
        np.testing.assert_array_equal(inputs[name], value, err_msg=name)


def test_longest_first_is_the_loop():
    sizes = list(itertools.product(range(8), range(8), range(2, 11)))
    counts = longest_first(*(tf.constant(column, tf.int64) for column in zip(*sizes, strict=True)))
    for (first, second, room), *kept in zip(sizes, *(count.numpy() for count in counts), strict=True):
        while first + second > room:
            if first > second:
                first -= 1
            else:
                second -= 1
        assert kept == [first, second]


@pytest.mark.parametrize("length", [7, 24])
def test_truncated_pairs(length):
    """Both texts keep their first sub-words, with the starts of their words; the special tokens are always kept."""
    whole, pre = subwords(64, pair=None), subwords(length)
    texts = pairs(["(so) unaffordable", "it", "so it goes"], ["so it goes on, said Zoë", "unaffordable it", "it"])
    tokens, starts = {}, {}
    for name in PAIR:
        encoded = whole(texts[name])
        sizes = encoded["padding_mask"].numpy().sum(1)
        for values, key in ((tokens, "token_ids"), (starts, "word_starts")):
            values[name] = [row[1 : size - 1].tolist() for row, size in zip(encoded[key].numpy(), sizes, strict=True)]
    inputs, located = as_lists(pre(texts)), pre.locate(texts)
    encoded = pre.encode(*(pre.split(texts[name]).words for name in PAIR))
    counts = [pre.word_counts(encoded, segment).numpy().tolist() for segment in (0, 1)]
    cls, sep = pre.tokenizer.cls_token_id, pre.tokenizer.sep_token_id
    for row in range(3):
        first, second = (tokens[name][row] for name in PAIR)
        first_starts, second_starts = (starts[name][row] for name in PAIR)
        while len(first) + len(second) > length - 3:
            longer = first if len(first) > len(second) else second
            longer.pop()
        first_starts, second_starts = first_starts[: len(first)], second_starts[: len(second)]
        padding = [0] * (length - 3 - len(first) - len(second))
        assert inputs["token_ids"][row] == [cls, *first, sep, *second, sep, *padding]
        assert inputs["padding_mask"][row] == [1] * (length - len(padding)) + padding
        assert inputs["word_starts"][row] == [0, *first_starts, 0, *second_starts, 0, *padding]
        assert inputs["segment_ids"][row] == [0] * (len(first) + 2) + [1] * (len(second) + 1) + padding
        assert [count[row] for count in counts] == [sum(first_starts), sum(second_starts)]
        assert np.count_nonzero(located.ends[row]) == sum(first_starts)
    assert located.texts.numpy().tolist() == [text.encode() for text in texts["question"]]


@pytest.mark.parametrize("make", [subwords, words])
def test_an_empty_second_text_gives_the_row_of_the_first_alone(make):
    pre, single = make(), make(pair=None)
    texts = [*FIRST, ""]
    alone = as_lists(pre(texts))
    assert as_lists(pre(pairs(texts, [" "] * 6))) == alone
    assert not np.any(alone["segment_ids"])
    for name, values in as_lists(single(texts)).items():
        assert alone[name] == values
    mixed = as_lists(pre(pairs(["so it", "so it", ""], ["", "it", "it"])))  # rows do not depend on each other
    for row, (first, second) in enumerate([("so it", ""), ("so it", "it"), ("", "it")]):
        assert as_lists(pre(pairs([first], [second]))) == {name: [values[row]] for name, values in mixed.items()}


def test_words():
    pre = words()
    inputs = pre(pairs(["so it goes", "so so so so", "on", ""], ["on", "it it it it", "", "It?"]))
    assert tuple(inputs) == pre.names == ("token_ids", "word_starts", "segment_ids")
    assert as_lists(inputs) == {
        "token_ids": [[2, 3, 4, 6, 5, 0], [2, 2, 2, 6, 3, 3], [5, 0, 0, 0, 0, 0], [6, 3, 1, 0, 0, 0]],
        "word_starts": [[1, 1, 1, 0, 1, 0], [1, 1, 1, 0, 1, 1], [1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]],
        "segment_ids": [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]],
    }
    assert pre.vocabulary_size == 7
    matrix, covered = pre.embeddings({"it": [1.0, 2.0]}, dim=2)
    assert (matrix.shape, covered, matrix[3].tolist()) == ((7, 2), 1, [1.0, 2.0])
    learnt = mtl.text.Words.learn(["so it", "so"], 4, pair=PAIR)
    assert (learnt.vocabulary, learnt.pair) == (("so", "it"), PAIR)


@pytest.mark.parametrize("make", [subwords, words])
def test_words_and_texts_give_the_same_rows_in_a_pipeline_too(make):
    pre = make()
    split = pairs(*(pre.split(texts).words for texts in (FIRST, SECOND)))
    expected = as_lists(pre(pairs(FIRST, SECOND)))
    assert as_lists(pre({name: value.to_list() for name, value in split.items()})) == expected
    batches = list(tf.data.Dataset.from_tensor_slices(pairs(FIRST, SECOND)).batch(2).map(pre))
    assert {name: np.concatenate([b[name] for b in batches]).tolist() for name in pre.names} == expected
    assert {name: x.shape for name, x in pre.inputs().items()} == dict.fromkeys(pre.names, (None, None))


def test_learnt_subwords_have_a_separator():
    texts = small.TEXTS * 30
    pre = mtl.text.Subwords.learn(texts, 12, 90, pair=PAIR)
    assert pre.vocabulary_size <= 90
    assert type(pre.tokenizer) is keras_hub.tokenizers.BertTokenizer
    tokens = pre.tokenizer.get_vocabulary()
    row = [tokens[i] for i in pre(pairs(["it GOES"], ["so"]))["token_ids"][0]]
    assert row == ["[CLS]", "it", "goes", "[SEP]", "so", "[SEP]", *["[PAD]"] * 6]


@pytest.mark.parametrize("make", [subwords, words])
def test_files_and_other_lengths_keep_pairs(make, tmp_path):
    pre = make()
    for loaded in (mtl.text.load(mtl.text.save(pre, tmp_path / "pairs.json")), pre.with_length(pre.length)):
        assert (loaded.pair, loaded.names, loaded.get_config()) == (PAIR, pre.names, pre.get_config())
        assert as_lists(loaded(pairs(FIRST, SECOND))) == as_lists(pre(pairs(FIRST, SECOND)))


def bert_model(pre, tasks):
    backbone = keras_hub.models.BertBackbone(
        pre.vocabulary_size, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=16
    )
    encoder = mtl.encoders.BackboneEncoder(backbone)
    return mtl.build_model(pre.inputs(), mtl.trunks.HardSharing(encoder), tasks), backbone


def transformer_model(pre, tasks):
    encoder = mtl.encoders.TransformerEncoder(pre.vocabulary_size, 10, dim=4, layers=1, heads=2)
    return mtl.build_model(pre.inputs(), mtl.trunks.HardSharing(encoder), tasks)


def entailment():
    return mtl.tasks.Classification("entailment", labels=["no", "yes"])


def test_a_backbone_reads_the_segments():
    pre = subwords(16)
    model, backbone = bert_model(pre, [entailment()])
    inputs = pre(pairs(FIRST, SECOND))
    sequence = backbone(keras_hubs_inputs("bert", pre))["sequence_output"].numpy()
    encoder = model.get_layer("backbone_encoder")
    np.testing.assert_allclose(encoder(inputs)["sequence"], sequence, rtol=1e-4, atol=1e-5)
    without = encoder({**inputs, "segment_ids": tf.zeros_like(inputs["segment_ids"])})["sequence"]
    assert np.abs(without - sequence).max() > 1e-2


@pytest.mark.parametrize(
    ("make", "check"), [(words, False), *(pytest.param(pre, True, marks=pytest.mark.slow) for pre in (subwords, words))]
)
def test_answers_are_those_of_the_export(make, check, tmp_path):
    """The tags are those of the first text's words."""
    pre = make(10)
    tasks = [entailment(), mtl.tasks.Tagging("entities", labels=["x", "y"], scheme="none")]
    model = bert_model(pre, tasks)[0] if make is subwords else transformer_model(pre, tasks)
    texts = pairs(["so it goes (on)", "so", "it"], ["on it goes", "", "so it goes on and on and on"])
    answers = model.answer(texts, pre)
    path = mtl.export.saved_model(model, tmp_path / "pairs", preprocessor=pre, warmup=texts, signatures={}, check=check)
    loaded = tf.saved_model.load(str(path))
    served = loaded.signatures["serving_default"](**{name: tf.constant(part) for name, part in texts.items()})
    assert set(served) == {f"{task}_{part}" for task, parts in answers.items() for part in parts}
    for task, parts in answers.items():
        for part, value in parts.items():
            output = served[f"{task}_{part}"].numpy()
            if value.dtype.kind == "U":
                assert value.tolist() == np.char.decode(output.astype(bytes), "utf-8").tolist()
            else:
                np.testing.assert_allclose(value, output, rtol=1e-5, atol=1e-6)
    located = [[word for word in row if word] for row in answers["entities"]["words"].tolist()]
    assert located[1:] == [["so"], ["it"]]
    assert located[0] == ["so", "it", "goes", "(", "on", ")"][: len(located[0])]
    assert len(located[0]) >= 3
    assert [(row != "").sum() for row in answers["entities"]["tags"]] == [len(row) for row in located]
    decoded = model.decode(model(pre(texts)), texts, pre)
    assert decoded["entities"]["words"].tolist() == answers["entities"]["words"].tolist()


def records(**fields):
    return tf.data.Dataset.from_tensor_slices(fields)


def rows_of(data, *args, **kwargs):
    return [
        tf.nest.map_structure(lambda t: t.numpy().tolist(), row) for row in mtl.data.encode_text(data, *args, **kwargs)
    ]


def test_encode_text():
    data = records(premise=["so it", "on", "it"], hypothesis=["It goes", "", "so"], entailment=["yes", "", "no"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = rows_of(data, words(), [entailment()], text=("premise", "hypothesis"))
    assert [x["token_ids"] for x, _, _ in rows] == [[2, 3, 6, 3, 4], [5], [3, 6, 2]]
    assert [x["segment_ids"] for x, _, _ in rows] == [[0, 0, 0, 1, 1], [0], [0, 0, 1]]
    assert [(y["entailment"], w["entailment"]) for _, y, w in rows] == [(1, 1), (0, 0), (0, 1)]


def test_a_mixture_of_pairs_and_single_texts_trains_one_model():
    pre = words(8)
    similarity = mtl.tasks.Regression("similarity", low=0, high=5)
    tags = mtl.tasks.Tagging("entities", labels=["O", "B-x", "I-x"])
    both = records(question=["so it", "on"], sentence=["it goes", "so"], similarity=[1.0, 4.0])
    single = tf.data.Dataset.from_tensors({"words": ["so", "it", "goes"], "entities": ["O", "B-x", "I-x"]})
    sources = {
        "pairs": mtl.data.encode_text(both, pre, [similarity], text=["question", "sentence"]),
        "single": mtl.data.encode_text(single, pre, [tags]),
    }
    assert next(iter(sources["single"]))[0]["segment_ids"].numpy().tolist() == [0, 0, 0]
    model = transformer_model(pre, [similarity, tags])
    model.compile("adam")
    history = model.fit(mtl.data.mix(sources, rates="uniform", batch_size=2, seed=0), verbose=0).history
    assert np.isfinite([history["similarity_loss"], history["entities_loss"]]).all()


def test_labels_of_words_are_those_of_the_first_text():
    data = tf.data.Dataset.from_generator(
        lambda: iter(
            [
                {"question": ["so", "it", "goes", "on"], "sentence": "so it, on", "tags": ["a", "b", "a", "b"]},
                {"question": ["so"], "sentence": "so it goes on so it goes", "tags": ["b"]},
                {"question": ["so"], "sentence": "it", "tags": ["a"]},
            ]
        ),
        output_signature={
            "question": tf.TensorSpec([None], tf.string),
            "sentence": tf.TensorSpec([], tf.string),
            "tags": tf.TensorSpec([None], tf.string),
        },
    )
    task = mtl.tasks.Tagging("tags", labels=["a", "b"], scheme="none")
    with pytest.warns(UserWarning, match=r"2 of 3 pairs of texts .* Lost: 6 words, 1 labels of 'tags'.*with_length"):
        rows = rows_of(data, words(), [task], text=PAIR)
    assert [x["token_ids"] for x, _, _ in rows] == [[2, 3, 4, 6, 2, 3], [2, 6, 2, 3, 4, 5], [2, 6, 3]]
    assert [y["tags"] for _, y, _ in rows] == [[0, 1, 0], [1], [0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: words(pair="question"), "`pair` must be the names of the two texts.*received 'question'"),
        (lambda: words(pair=True), "`pair` must be.*received True"),
        (lambda: words(pair=("a", "a")), "`pair` must be .*different"),
        (lambda: words(pair=("a", "two words")), "`pair` must be .*identifiers"),
        (lambda: words(2), "`length` must leave room for two words and a separator"),
        (lambda: subwords(4), "`length`.*a word of each text.*received 4. Use at least 5"),
        (lambda: subwords(5, "roberta"), "received 5. Use at least 6"),
        (
            lambda: mtl.text.Subwords(keras_hub.tokenizers.WordPieceTokenizer(["[PAD]", "[UNK]", "a"]), 9, PAIR),
            "`tokenizer` must have an end token .*WordPieceTokenizer has none.*learn",
        ),
        (lambda: words()({"question": ["so"]}), r"keys \['question', 'sentence'\].*received the keys \['question'\]"),
        (lambda: words()(pairs(["so"], ["so", "it"])), "as many texts 'question' as 'sentence', received 1 and 2"),
        (lambda: words(pair=None)(pairs(["so"], ["it"])), "received a dict.*create the preprocessor with `pair`"),
        (lambda: words(pair=None).encode([["so"]], [["it"]]), "`second` is the text of a pair"),
        (lambda: words().locate(pairs([["so"]], ["it"])), "Words need no splitting"),
        (lambda: rows_of(DATA, words(), [], text=("question", "sentences")), "no field 'sentences'.*'sentence'"),
        (lambda: rows_of(DATA, words(), []), "no field 'words'"),
        (lambda: rows_of(DATA, words(), [], text=("question",)), "two fields of pairs.*received"),
        (lambda: rows_of(DATA, words(pair=None), [], text=PAIR), "`preprocessor` takes single texts. Create it with"),
        (lambda: model().answer(["so"], words()), "dict with the keys .*'question', 'sentence'"),
        (lambda: model().answer(pairs(["so"], []), words()), "same number of rows, received .*'sentence': 0"),
        (lambda: model().answer(["so"], words(pair=None)), "'missing': .*'segment_ids'"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


DATA = records(question=["so"], sentence=["it"])


def model():
    return transformer_model(words(), [entailment()])


def test_names_are_checked_in_graphs_too():
    pre = words()
    with pytest.raises(ValueError, match="must be a dict with the keys"):
        DATA.batch(1).map(lambda row: pre({"question": row["question"]}))
    assert keras.tree.map_structure(lambda spec: spec.name, pre.input_signature) == (pairs(*PAIR),)
    assert words(pair=None).input_signature[0].name == "text"
