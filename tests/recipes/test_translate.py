"""The recipe `translate` through its command line, on a made-up language, and its reader of files."""

import gzip
import json
import random

import pytest
import translate_data

PARTS = {"train": 120, "val": 12, "test_2016_flickr": 12}
WORDS = {"a": "ein", "two": "zwei", "dog": "Hund", "man": "Mann", "runs": "rennt", "sleeps": "schläft"}


def write(folder, language, part, lines):
    with gzip.open(folder / f"{part}.{language}.gz", "wt", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("sentences"), random.Random(0)
    for part, count in PARTS.items():
        rows = [[rng.choice(pair) for pair in (["a", "two"], ["dog", "man"], ["runs", "sleeps"])] for _ in range(count)]
        write(folder, "en", part, [" ".join(row) + "." for row in rows])
        write(folder, "de", part, [" ".join(WORDS[word] for word in row) + "." for row in rows])
        write(folder, "xx", part, [" ".join(word[::-1] for word in row) + "." for row in rows])
    return folder


@pytest.mark.slow
def test_translates_into_a_language_of_the_folder(run_in_this_process, folder, tmp_path, monkeypatch):
    import translate

    monkeypatch.setattr(translate, "SIZE", {"dim": 32, "layers": 1, "heads": 2, "dropout": 0.0})
    monkeypatch.setattr(translate, "LENGTH", 16)
    options = ["--data", folder, "--languages", "xx", "--no-single-task", "--strategy", "one_device"]
    options += ["--vocabulary-size", 320, "--epochs", 12, "--batch-size", 8, "--learning-rate", 0.01]
    printed = run_in_this_process("translate", tmp_path, *options)
    metrics = json.loads((tmp_path / "runs" / "metrics.json").read_text())
    assert set(metrics["test"]) == {"xx_bleu", "xx_chrf"}
    assert metrics["test"]["xx_bleu"] > 30  # there are eight sentences
    assert "xx_text" in printed
    again = run_in_this_process("translate", tmp_path, *options)
    assert f"{metrics['test']['xx_bleu']:.3f}" in again


def test_files_are_read_line_by_line(folder, tmp_path):
    parts = translate_data.load(folder, ["en", "de"], smoke=False)
    assert {part: len(sentences["de"]) for part, sentences in parts.items()} == PARTS
    assert "schläft" in "".join(parts["train"]["de"])
    with pytest.raises(SystemExit, match=r"has no file train.fr.gz; its languages are \['de', 'en', 'xx'\]"):
        translate_data.load(folder, ["en", "fr"], smoke=False)
    for part in PARTS:
        write(tmp_path, "en", part, ["one", "two"])
        write(tmp_path, "de", part, ["eins"])
    with pytest.raises(SystemExit, match="must have a line for each sentence"):
        translate_data.load(tmp_path, ["en", "de"], smoke=False)
