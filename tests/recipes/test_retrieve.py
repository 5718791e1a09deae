"""The recipe `retrieve` through its command line, on made-up questions."""

import json
import math
import random

import numpy as np
import pytest
import retrieve
import retrieve_data
import retrieve_ranking

NAMES = ["ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"]
DEEDS = ["sleeps", "runs", "sings", "reads", "cooks", "paints"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("qnli"), random.Random(0)
    for part, count in (("train", 300), ("dev", 60)):
        lines = ["index\tquestion\tsentence\tlabel"]
        for number in range(count):
            name, deed = rng.choice(NAMES), rng.choice(DEEDS)
            is_answer = number % 2 == 0
            told = name if is_answer else rng.choice([other for other in NAMES if other != name])
            label = "entailment" if is_answer else "not_entailment"
            lines.append(f'{number}\tdoes {name}o {deed}o ?\t{told} {deed} "often" .\t{label}')
        (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_the_joint_model_finds_answers(run_in_this_process, folder, tmp_path):
    printed = run_in_this_process(
        *("retrieve", tmp_path, "--smoke", "--encoder", "bilstm", "--data", folder, "--strategy", "one_device"),
        *("--epochs", 6, "--learning-rate", 0.01, "--batch-size", 32),
    )
    document = json.loads((tmp_path / "runs" / "metrics.json").read_text())
    assert document["test"]["match_mrr"] > 0.5  # no word of a question is one of its answer
    assert document["test"]["match_mrr"] > 2 * max(document[way]["match_mrr"] for way in ("before", "BM25"))
    assert set(document["answered"]) == {"answered_accuracy"}
    assert set(document["match"]) == set(document["BM25"])
    (row,) = [line for line in printed.splitlines() if line.startswith("| BM25 ")]
    assert row.split("|")[2].strip() == f"{document['BM25']['match_recall@1']:.3f}"
    assert "delta-m" in printed
    assert printed.count(" ?\n    ") == 3


def test_recall_counts_the_sentences_that_score_as_high():
    scores = np.array([[3.0, 1.0, 2.0], [5.0, 3.0, 3.0], [1.0, 2.0, 3.0]])
    assert retrieve_ranking.recalls(scores, [0, 2, 1]) == {
        "recall@1": 1 / 3,
        "recall@10": 1,
        "mrr": (1 + 1 / 3 + 1 / 2) / 3,
    }


def test_bm25_by_hand():
    sentences = ["the red rose", "the rose is the rose", "a dog"]
    rarity = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    norms = [1.2 * (0.25 + 0.75 * length / (10 / 3)) for length in (3, 5)]
    expected = [rarity * count * 2.2 / (count + norm) for count, norm in zip((1, 2), norms, strict=True)]
    np.testing.assert_allclose(retrieve_ranking.bm25(["Rose"], sentences), [[*expected, 0]])


def test_a_single_file_is_split_by_questions(folder, tmp_path):
    (tmp_path / "dev.tsv").write_text((folder / "train.tsv").read_text())
    parts = retrieve_data.load(tmp_path, smoke=False)
    assert len(parts["train"]) + len(parts["test"]) == 300
    assert not {pair.question for pair in parts["train"]} & {pair.question for pair in parts["test"]}


def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must have a file dev\.tsv"):
        retrieve_data.load(tmp_path, smoke=False)
    (tmp_path / "dev.tsv").write_text("question\tsentence\na\tb\n")
    with pytest.raises(ValueError, match="must have the columns"):
        retrieve_data.load(tmp_path, smoke=False)
    (tmp_path / "dev.tsv").write_text("question\tsentence\tlabel\na\tb\tyes\n")
    with pytest.raises(ValueError, match=r"line 2: the label must be one of .*received 'yes'"):
        retrieve_data.load(tmp_path, smoke=False)


def test_the_folder_must_be_given(capsys):
    with pytest.raises(SystemExit):
        retrieve.main(["--smoke"])
    assert "--data is required: a folder with QNLI's dev.tsv" in capsys.readouterr().err
