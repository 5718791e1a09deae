"""Tags of words beside a class of texts: intents and slots of requests, on one recurrent encoder.

Shows: `mtl.text.Words`, `mtl.data.encode_text`, `mtl.tasks.Tagging(crf=True)` beside `Classification`, a joint metric,
and spans decoded together with their texts.

    python examples/tags_and_classes.py
"""

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

# Requests to an assistant, sampled from templates. A place is one of a thousand made-up names. Most names in the test
# requests do not occur in training, so the model must recognise them by the words around them.

TEMPLATES = {
    "book": ["book a flight to {place} on {day} .", "i need a ticket from {place} to {place} .", "fly me to {place}"],
    "weather": ["will it rain in {place} on {day} ?", "how warm is it in {place} ?", "is {place} sunny {day}"],
    "remind": ["remind me {day} to call home .", "wake me up on {day}", "on {day} i must leave {place} ."],
}
DAYS = ["monday", "friday", "next week", "tomorrow", "the first of may"]
SYLLABLES = ["ka", "lo", "mi", "ra", "tu", "ve", "so", "ni", "bar", "den"]


def requests(count, seed):
    """Yield words, a tag for each of them (O, or B- and I- for a slot's first and other words), and the intent."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        intent = str(rng.choice(list(TEMPLATES)))
        words, slots = [], []
        for part in str(rng.choice(TEMPLATES[intent])).split():
            value = {"{day}": rng.choice(DAYS), "{place}": "".join(rng.choice(SYLLABLES, 3))}.get(part, part).split()
            slot = part.strip("{}")
            words += value
            slots += ["O"] if slot == part else [f"B-{slot}", *[f"I-{slot}"] * (len(value) - 1)]
        yield {"words": words, "slots": slots, "intent": intent}


def records(count, seed):
    """Return the same as a data set."""
    spec = {"words": tf.TensorSpec([None], tf.string), "slots": tf.TensorSpec([None], tf.string)}
    spec["intent"] = tf.TensorSpec([], tf.string)
    return tf.data.Dataset.from_generator(lambda: requests(count, seed), output_signature=spec)


training, testing = records(600, seed=0), records(200, seed=1)

# The tasks find their labels in the data. The CRF scores neighbouring tags together, so that no I-place follows an O.

tasks = [
    mtl.tasks.Tagging("slots", labels=mtl.data.labels_of(training, "slots", scheme="BIO"), crf=True),
    mtl.tasks.Classification("intent", labels=mtl.data.labels_of(training, "intent")),
]

# `Words` turns words into token ids. `min_count` leaves out the rare ones: all names become the token of unknown words,
# and what the encoder learns about that token holds for new names as well. `encode_text` turns the records into rows
# of token ids, labels and label weights.

words = mtl.text.Words.learn(training.map(lambda record: record["words"]), length=16, min_count=10)
rows = mtl.data.encode_text(training, words, tasks)
test_rows = mtl.data.encode_text(testing, words, tasks)

keras.utils.set_random_seed(0)
encoder = mtl.encoders.RecurrentEncoder(words.vocabulary_size, dim=32, units=32)
model = mtl.build_model(words.inputs(), mtl.trunks.HardSharing(encoder), tasks)

# The joint metric counts the requests in which the intent and all slots are right.

model.compile(keras.optimizers.Adam(1e-2), joint_metrics=[mtl.metrics.FrameAccuracy(["slots", "intent"])])
model.fit(mtl.data.batch_by_length(rows.shuffle(600, seed=0), batch_size=32), epochs=6, verbose=0)
results = model.evaluate(mtl.data.batch_by_length(test_rows, batch_size=100), verbose=0, return_dict=True)
for name in ("intent_accuracy", "slots_span_f1", "frame_accuracy"):
    print(f"{name}: {results[name]:.2f}")

# Raw texts in, spans out: with the texts and the preprocessor, `decode` gives each span's own text, and its offsets in
# the UTF-8 text. Rows have as many spans as the longest needs; the rest of a row is "".

texts = ["Will it rain in Nibarka on the first of May?", "I need a ticket from Tokyo to Oslo."]
answer = model.decode(model.predict(words(texts), verbose=0), texts, words)
for row, text in enumerate(texts):
    spans = zip(answer["slots"]["span_types"][row], answer["slots"]["span_texts"][row], strict=True)
    print(text, answer["intent"]["label"][row], {str(span): str(kind) for kind, span in spans if kind})

# It prints:
#
# intent_accuracy: 1.00
# slots_span_f1: 1.00
# frame_accuracy: 1.00
# Will it rain in Nibarka on the first of May? weather {'Nibarka': 'place', 'the first of May': 'day'}
# I need a ticket from Tokyo to Oslo. book {'Tokyo': 'place', 'Oslo': 'place'}
