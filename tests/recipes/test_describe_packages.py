"""The recipe `describe_packages` through its command line, on made-up packages, and its reader of files."""

import gzip
import json
import lzma

import describe_packages_data as data
import pytest
from describe_packages_scores import scores, simple_answers

KINDS = {
    "game": ("games", "game::arcade, role::program", "Spiel"),
    "editor": ("editors", "use::editing,\n role::program", "Editor"),
    "library": ("non-free/libs", "", "Bibliothek"),
}
INDEX = """\
Package: tool
Source: tools (1.2)
Description: tool for files
Description-md5: 1
Tag: role::program, interface::text-mode,
 use::editing
Section: non-free/utils

Package: tool-again
Source: others
Description: tool for files, again
Description-md5: 2
Section: utils

Package: plain
Description: all of it is here
 This is its only description.

Package: short
Description: without a long description
Description-md5: 3
"""
ENGLISH = """\
Package: tool
Description-md5: 1
Description-en: tool for files
 It copies files, e.g. Those of version 2.
 It is fast.
 .
 Features:
  * small
  * old

Package: tool
Description-md5: 9
Description-en: an older tool
 This is another version.

Package: tool-again
Description-md5: 2
Description-en: tool for files, again
 It copies files, e.g. Those of version 3.
 It is fast.
 .
 Features:
  * small
  * old

Package: short
Description-md5: 3
Description-en: without a long description
"""
GERMAN = """\
Package: tool
Description-md5: 1
Description-de: Werkzeug für Dateien
 Es kopiert Dateien, z. B. Texte
 usw. Es ist schnell.
 .
 Funktionen:
"""


def write(folder, index, english, german):
    (folder / "mirror_dists_stable_main_binary-amd64_Packages").write_text(index)
    with gzip.open(folder / "mirror_dists_stable_main_i18n_Translation-en.gz", "wt", encoding="utf-8") as file:
        file.write(english)
    with lzma.open(folder / "Translation-de.xz", "wt", encoding="utf-8") as file:
        file.write(german)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Packages of three kinds, of which libraries lack tags, and editors a translation."""
    folder = tmp_path_factory.mktemp("lists")
    index, english, german = [], [], []
    for i in range(240):
        kind = list(KINDS)[i % 3]
        section, tags, noun = KINDS[kind]
        name = f"{kind}-{chr(97 + i % 26)}{chr(97 + i // 26)}"
        key = f"Package: {name}\nDescription-md5: {i}\n"
        tag = f"Tag: {tags}\n" if tags else ""
        index.append(f"{key}Source: {name}-source\nDescription: small {kind}\n{tag}Section: {section}\n")
        english.append(f"{key}Description-en: small {kind}\n {name} is a {kind}.\n It is small.\n")
        if kind != "editor":
            german.append(f"{key}Description-de: {noun}\n Kleines {noun}. Es ist klein.\n")
    write(folder, *("\n".join(entries) for entries in (index, english, german)))
    return folder


@pytest.mark.slow
def test_describes_packages(run_in_this_process, folder, tmp_path, monkeypatch):
    import describe_packages

    size = {"dim": 32, "layers": 1, "heads": 2, "dropout": 0.0}
    monkeypatch.setattr(describe_packages, "SIZE", size)
    monkeypatch.setattr(describe_packages, "DECODER_SIZE", size)
    monkeypatch.setattr(describe_packages, "LENGTH", 32)
    monkeypatch.setattr(describe_packages, "WRITTEN_LENGTH", 24)
    options = ["--data", folder, "--strategy", "one_device", "--smoke", "--epochs", 12, "--batch-size", 16]
    options += ["--vocabulary-size", 330, "--learning-rate", 0.01, "--language", "de", "--no-single-task"]
    printed = run_in_this_process("describe_packages", tmp_path, *options)
    metrics = json.loads((tmp_path / "runs" / "metrics.json").read_text())
    assert set(metrics["test"]) == {"summary_rouge_l", "section_accuracy", "tags_micro_f1", "de_rouge_l"}
    assert set(metrics["baselines"]) == {"summary_rouge_l", "section_accuracy", "tags_micro_f1"}
    assert metrics["test"]["section_accuracy"] > 0.9
    assert metrics["test"]["summary_rouge_l"] > 90
    assert metrics["test"]["de_rouge_l"] > 20
    assert metrics["baselines"]["section_accuracy"] == 1
    assert "simple method" in printed
    assert (tmp_path / "export" / "1" / "model_card.json").exists()


def test_packages_are_joined_with_their_descriptions(tmp_path):
    write(tmp_path, INDEX, ENGLISH, GERMAN)
    english, german = data._descriptions(tmp_path, "en", "de"), data._descriptions(tmp_path, "de", "de")
    packages = list(data._packages(data._files(tmp_path, "Packages", "de"), english, german))
    text = "It copies files, e.g. Those of version 2. It is fast. Features: * small * old"
    tags = ["role::program", "interface::text-mode", "use::editing"]
    german_sentence = "Es kopiert Dateien, z. B. Texte usw. Es ist schnell."
    assert packages == [
        ("tool", "tools", text, "tool for files", "utils", tags, german_sentence),
        ("tool-again", "others", text.replace("2", "3"), "tool for files, again", "utils", [""], ""),
        ("plain", "plain", "This is its only description.", "all of it is here", "misc", [""], ""),
    ]
    kept = data._without_duplicates(packages[::-1])
    assert [package.name for package in kept] == ["plain", "tool"]


def test_no_source_or_text_is_in_two_parts(folder):
    packages = data.load(folder, "de", smoke=True)
    assert packages.sections == ["editors", "games", "libs"]
    assert packages.tags == ["game::arcade", "role::program", "use::editing"]
    assert sum(map(len, packages.parts.values())) == 240
    for field in ("source", "text"):
        values = [{getattr(package, field) for package in members} for members in packages.parts.values()]
        assert sum(map(len, values)) == len(set.union(*values))
    tags = {tuple(package.tags) for package in packages.parts["train"]}
    assert tags == {("game::arcade", "role::program"), ("use::editing", "role::program"), ("",)}
    assert {package.section for package in data.labelled(packages.parts["train"], "de")} == {"games", "libs"}
    rare = data.load(folder, None, smoke=False).tags
    assert rare == ["game::arcade", "role::program", "use::editing"]


def test_paragraphs_have_folded_lines():
    lines = ["A: one\n", "B: two\n", " three\n", " .\n", "  four\n", "\n", "\n", "A: five: six\n"]
    assert list(data.paragraphs(lines)) == [{"A": "one", "B": "two\nthree\n\n four"}, {"A": "five: six"}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One is\nhere. Two", "One is here."),
        ("This has no end\n\nTwo.", "This has no end"),
        ("Features:\n * one. Two", "Features:"),
        ("It runs on libfoo. bar uses it. End", "It runs on libfoo. bar uses it."),
        ("Das 3. Kapitel (z. B. Eins). Ende", "Das 3. Kapitel (z. B. Eins)."),
        ("", ""),
    ],
)
def test_first_sentence(text, sentence):
    assert data.first_sentence(text) == sentence


def test_scores_are_those_of_labelled_packages(folder):
    packages = data.load(folder, None, smoke=True)
    game, editor, library = (
        next(package for package in packages.parts["test"] if package.section == section)
        for section in ("games", "editors", "libs")
    )
    answers = {
        "summary": ["small game", "nothing", "small library"],
        "section": ["games", "games", "libs"],
        "tags": [["game::arcade"], ["role::program", "game::arcade"], ["role::program"]],
    }
    results = scores(answers, [game, editor, library])
    assert results["summary_rouge_l"] == pytest.approx(200 / 3)
    assert results["section_accuracy"] == pytest.approx(2 / 3)
    assert results["tags_micro_f1"] == pytest.approx(2 * 2 / (4 + 3))  # the library's are missing
    simple = simple_answers(packages)
    assert all(len(summary.split()) == 2 for summary in simple["summary"])  # as the summaries
    assert simple["section"] == [package.section for package in packages.parts["test"]]


def test_missing_files_are_named(tmp_path):
    with pytest.raises(SystemExit, match=r"has no file \*Packages,.*\n.*\n.*Languages=en,fr"):
        data.load(tmp_path, "fr", smoke=False)
    write(tmp_path, INDEX, ENGLISH, GERMAN)
    with pytest.raises(SystemExit, match=r"has no file \*Translation-fr,"):
        data.load(tmp_path, "fr", smoke=False)
    with pytest.raises(SystemExit, match="has 2 descriptions of packages, too few"):
        data.load(tmp_path, "de", smoke=False)
