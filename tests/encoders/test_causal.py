"""Texts that a decoder-only backbone of keras-hub continues, beside other tasks that read the same backbone."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

LENGTH, START, END = 8, 2, 3
PROMPTS = np.array([[9, 14, 5, 31, 7, 40], [11, 6, 23, 0, 0, 0], [17, 0, 0, 0, 0, 0], [0] * 6], "int32")
SIZES = {"num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}
BACKBONES = {
    "gpt2": lambda: keras_hub.models.GPT2Backbone(50, num_heads=2, max_sequence_length=24, dropout=0.0, **SIZES),
    "llama": lambda: keras_hub.models.LlamaBackbone(50, num_query_heads=4, num_key_value_heads=2, **SIZES),
    "gemma": lambda: keras_hub.models.GemmaBackbone(50, num_query_heads=4, num_key_value_heads=2, head_dim=4, **SIZES),
}


def random_backbone(kind):
    """A backbone whose texts differ from prompt to prompt."""
    backbone, rng = BACKBONES[kind](), np.random.default_rng(0)
    for variable in backbone.weights:
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    return backbone


def written(decoder, rows=slice(None), sampler=None):
    prompts, sampler = PROMPTS[rows], sampler or mtl.samplers.Greedy()
    return decoder(prompts, valid=prompts > 0, start=START, end=END, padding=0, sampler=sampler).numpy()


@pytest.mark.parametrize("kind", BACKBONES)
def test_greedy_texts_are_those_of_keras_hub(kind):
    backbone = random_backbone(kind)
    tokens, log_probabilities = np.moveaxis(written(mtl.encoders.CausalEncoder(backbone, LENGTH)), -1, 0)
    language_model = {
        "gpt2": keras_hub.models.GPT2CausalLM,
        "llama": keras_hub.models.LlamaCausalLM,
        "gemma": keras_hub.models.GemmaCausalLM,
    }[kind](backbone, preprocessor=None)
    language_model.compile(sampler="greedy")
    for prompt, row, log_probability in zip(PROMPTS, tokens.astype(int), log_probabilities, strict=True):
        given = np.array([*prompt[prompt > 0], START])
        ids = np.pad(given, (0, LENGTH))[None]
        is_given = (np.arange(ids.shape[1]) < len(given))[None]
        generated = language_model.generate({"token_ids": ids, "padding_mask": is_given}, stop_token_ids=(END,))
        expected = generated["token_ids"][0][generated["padding_mask"][0].astype(bool)][len(given) :]
        np.testing.assert_array_equal(row[: len(expected)], expected)
        assert (row[len(expected) :] == 0).all()
        logits = language_model(
            {"token_ids": np.array([*given, *expected])[None], "padding_mask": np.ones((1, len(given) + len(expected)))}
        )
        of_text = tf.nn.log_softmax(logits[0, len(given) - 1 : -1]).numpy()[np.arange(len(expected)), expected]
        np.testing.assert_allclose(log_probability[: len(expected)], of_text, rtol=1e-4, atol=1e-5)


def test_rows_do_not_depend_on_each_other_and_masks_may_have_gaps():
    decoder = mtl.encoders.CausalEncoder(random_backbone("gpt2"), LENGTH)
    for sampler in (mtl.samplers.Greedy(), mtl.samplers.Beam(3), mtl.samplers.TopK(5, seed=1)):
        together = written(decoder, sampler=sampler)
        alone = np.concatenate([written(decoder, slice(row, row + 1), sampler) for row in range(len(PROMPTS))])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    llama = mtl.encoders.CausalEncoder(random_backbone("llama"), LENGTH)
    assert written(llama, slice(0, 0)).shape == (0, LENGTH, 2)  # keras-hub's GPT-2 takes no empty batch
    gaps = np.array([[0, 9, 14, 0, 5, 31, 0, 7, 40]], "int32")
    options = {"start": START, "end": END, "padding": 0, "sampler": mtl.samplers.Greedy()}
    np.testing.assert_allclose(decoder(gaps, valid=gaps > 0, **options), written(decoder, slice(0, 1)), rtol=1e-4)


def test_errors():
    with pytest.raises(TypeError, match="`backbone` must be one for which keras-hub has a CausalLM"):
        mtl.encoders.CausalEncoder(keras_hub.models.BertBackbone(50, num_heads=2, **SIZES), LENGTH)
    gemma3 = keras_hub.models.Gemma3Backbone(
        50, 16, num_query_heads=2, num_key_value_heads=1, head_dim=4, vision_encoder=None, **SIZES
    )
    with pytest.raises(
        TypeError, match="Gemma3CausalLM of keras-hub generates from other things than tokens and a cache"
    ):
        mtl.encoders.CausalEncoder(gemma3, LENGTH)
    with pytest.raises(ValueError, match="`length` must leave room .* in the 24 positions of `backbone`, received 23"):
        mtl.encoders.CausalEncoder(BACKBONES["gpt2"](), 23)
    decoder = mtl.encoders.CausalEncoder(BACKBONES["gpt2"](), LENGTH)
    long = np.ones((1, 17), "int32")
    for call in (lambda: decoder(long, tokens=long[:, :8]), lambda: decoder(long, sampler=mtl.samplers.Greedy())):
        with pytest.raises(ValueError, match=r"max_sequence_length=24 and needs .* Received 2[56] tokens"):
            call()
    unknown = tf.function(lambda ids: decoder(ids, tokens=ids[:, :8]), [tf.TensorSpec([None, None], tf.int32)])
    assert unknown(long[:, :16]).shape == (1, 8, 50)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Shorten the inputs or `length`"):
        unknown(long)
    with pytest.raises(ValueError, match="must have tied=False"):
        decoder(keras.Input((4,), dtype="int32"), table=keras.Input((16,)), start=START)
    tokenizer = mtl.text.learn_tokenizer(["a man", "a dog"], 300)
    with pytest.raises(ValueError, match=r"`decoder` of task 'text' must have vocabulary_size=\d+, as `tokenizer`"):
        mtl.tasks.Generation("text", tokenizer, LENGTH, decoder)
    encoder = mtl.encoders.CausalEncoder(
        keras_hub.models.GPT2Backbone(
            tokenizer.vocabulary_size(), num_heads=2, max_sequence_length=24, dropout=0.0, **SIZES
        ),
        LENGTH,
    )
    inputs = mtl.text.Subwords(tokenizer, 6).inputs()
    for task in (
        mtl.tasks.Generation("text", tokenizer, LENGTH, encoder),
        mtl.tasks.LanguageModel("text", tokenizer, encoder),
    ):
        with pytest.raises(ValueError, match="'causal_encoder', which the trunk must share as a whole"):
            mtl.build_model(inputs, mtl.trunks.LoRA(encoder), [task])
        other = mtl.encoders.TransformerEncoder(tokenizer.vocabulary_size(), 6, dim=8, layers=1, heads=2)
        with pytest.raises(ValueError, match=r"Task 'text' reads features\['token_ids'\], but the encoder gives"):
            mtl.build_model(inputs, mtl.trunks.HardSharing(other), [task])


# A model of three tasks on one backbone.

TEXTS = ["a man rides", "two dogs run", "a woman", "dogs"]
REPLIES = ["yes", "run, dogs", "a woman reads", ""]


def built(trunk=mtl.trunks.HardSharing, strategy=None, **options):
    keras.utils.set_random_seed(5)
    tokenizer = mtl.text.learn_tokenizer([*TEXTS, *REPLIES] * 5, 300)
    preprocessor = mtl.text.Subwords(tokenizer, 12)
    with (strategy or tf.distribute.get_strategy()).scope():
        backbone = keras_hub.models.GPT2Backbone(
            tokenizer.vocabulary_size(), num_heads=2, max_sequence_length=40, dropout=0.0, **SIZES
        )
        encoder = mtl.encoders.CausalEncoder(backbone, 16)
        tasks = [
            mtl.tasks.Generation("reply", tokenizer, 16, encoder),
            mtl.tasks.LanguageModel("texts", tokenizer, encoder),
            mtl.tasks.Classification("kind", labels=["a", "b"]),
        ]
        model = mtl.build_model(preprocessor.inputs(), trunk(encoder), tasks)
        model.compile(keras.optimizers.SGD(0.1), **options)
    return model, preprocessor


def rows(model, preprocessor):
    """Inputs, labels and weights as arrays; the last row has no reply."""
    records = {"text": TEXTS, "reply": REPLIES, "texts": TEXTS, "kind": ["a", "b", "a", "b"]}
    data = mtl.data.encode_text(tf.data.Dataset.from_tensor_slices(records), preprocessor, model.tasks, text="text")
    return tf.nest.map_structure(lambda x: x.numpy(), next(iter(mtl.data.batch_by_length(data, 4))))


def test_all_tasks_train_one_backbone(tmp_path):
    model, preprocessor = built()
    backbone = model.get_layer("causal_encoder").backbone
    parts = mtl.partition(model)
    assert {id(v) for v in parts.shared} == {id(v) for v in backbone.trainable_variables}
    assert set(parts.sharers) == {("reply", "texts", "kind")}
    x, y, weight = rows(model, preprocessor)
    before = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    model.fit(x, y, sample_weight=weight, epochs=20, verbose=0)
    after = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    for task in model.task_names:
        assert after[f"{task}_loss"] < 0.8 * before[f"{task}_loss"]
    answers = model.answer(TEXTS, preprocessor)

    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert len(loaded.weights) == len(model.weights)
    again = loaded.answer(TEXTS, preprocessor)
    assert list(again["reply"]["text"]) == list(answers["reply"]["text"])
    np.testing.assert_allclose(again["reply"]["score"], answers["reply"]["score"], rtol=1e-4)
    assert all(task.decoder is loaded.get_layer("causal_encoder") for task in loaded.tasks[:2])
    loaded.fit(x, y, sample_weight=weight, verbose=0)

    exported = mtl.export.saved_model(model, tmp_path / "served", preprocessor=preprocessor, warmup=TEXTS)
    served = tf.saved_model.load(str(exported)).signatures["reply"](text=tf.constant(TEXTS))
    assert served["reply_text"].numpy().tolist() == [text.encode() for text in answers["reply"]["text"]]


def test_the_loss_is_that_of_the_text_behind_the_input():
    model, preprocessor = built()
    x, y, weight = rows(model, preprocessor)
    logs = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    backbone = model.get_layer("causal_encoder").backbone
    language_model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    start = model.tasks[0].tokenizer.token_to_id("<s>")
    for task, prompts in (("reply", x["token_ids"]), ("texts", np.zeros((4, 0), int))):
        losses = []
        for row in range(4):
            prompt = [*prompts[row][x["padding_mask"][row][: prompts.shape[1]] > 0], start]
            text = y[task][row][weight[task][row] > 0]
            ids = np.array([*prompt, *text])[None]
            logits = language_model({"token_ids": ids, "padding_mask": np.ones_like(ids)})[0, len(prompt) - 1 : -1]
            losses += (-tf.nn.log_softmax(logits).numpy()[np.arange(len(text)), text]).tolist()
        assert logs[f"{task}_loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_replicas_are_one_device():
    results = []
    for strategy in (None, mtl.distribute.strategy("mirrored")):
        model, preprocessor = built(strategy=strategy, balancing="upgrad")
        x, y, weight = rows(model, preprocessor)
        model.fit(x, y, sample_weight=weight, batch_size=4, epochs=2, verbose=0)
        results.append(model.get_weights())
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
