"""Debian's packages: descriptions, sections and tags from apt's index files, translations from those beside them."""

import bz2
import gzip
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

LISTS = Path("/var/lib/apt/lists")
PARTS = ("train", "val", "test")
MISSING_TAGS = [""]
MISSING = ("", MISSING_TAGS)  # labels
LEAST_PACKAGES = 50  # with a tag, among those to train on
SMOKE_ROWS, SMOKE_LEAST_PACKAGES = 300, 5

_OPEN: dict[str, Callable[..., Any]] = {"": open, ".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_HELP = """\
{folder} has no file *{name}, with or without .gz, .xz or .bz2; .lz4 cannot be read. On Debian, also without root:
    mkdir -p lists/partial
    apt-get update -o Dir::State::lists=$PWD/lists -o Acquire::Languages=en,{language} -o Acquire::GzipIndexes=false
and pass --data lists."""
_ABBREVIATIONS = {
    *("approx", "dr", "e.g", "etc", "fig", "i.e", "inc", "mr", "no", "st", "vs"),
    *("bspw", "bzw", "ca", "d.h", "engl", "evtl", "ggf", "inkl", "nr", "sog", "u.a", "usw", "vgl", "z.b"),
}


class Package(NamedTuple):
    """A package; an empty translation is a missing one, and so is the list of tags [""]."""

    name: str
    source: str
    text: str
    summary: str
    section: str
    tags: list[str]
    translation: str


class Packages(NamedTuple):
    """Packages by part, and the names of sections and tags."""

    parts: dict[str, list[Package]]
    sections: list[str]
    tags: list[str]


def load(folder: Path, language: str | None, smoke: bool) -> Packages:
    """Return the packages of all indexes in a folder.

    Of packages whose long descriptions differ in numbers only, one is kept, if possible with tags and a translation.
    The hash of its source package determines a package's part: 80 % train, 10 % val, 10 % test. Tags of fewer than
    `LEAST_PACKAGES` packages of the first part are left out.

    Args:
        folder: The folder with files such as *Packages and *Translation-en.
        language: The language of the translations, such as "de"; None for none.
        smoke: Whether it is a smoke test, on a few hundred packages.

    Raises:
        SystemExit: if there is no index, or no file of a language, or a part is empty.
    """
    other = language or "de"
    indexes = _files(folder, "Packages", other)
    english = _descriptions(folder, "en", other)
    translations = _descriptions(folder, language, other) if language else {}
    packages = _without_duplicates(_packages(indexes, english, translations))
    parts: dict[str, list[Package]] = {part: [] for part in PARTS}
    for package in packages:
        bucket = zlib.crc32(package.source.encode()) % 10
        parts[PARTS[max(0, bucket - 7)]].append(package)
    if smoke:
        parts = {part: members[:SMOKE_ROWS] for part, members in parts.items()}
    empty = [part for part, members in parts.items() if not members]
    if empty:
        raise SystemExit(f"{folder} has {len(packages)} descriptions of packages, too few: none is in {empty}.")
    counts = Counter(tag for package in parts["train"] for tag in package.tags if tag)
    least = SMOKE_LEAST_PACKAGES if smoke else LEAST_PACKAGES
    tags = sorted(tag for tag, count in counts.items() if count >= least)
    if not tags:
        raise SystemExit(f"No tag in {folder} is that of {least} packages.")
    parts = {part: [_with_tags(package, set(tags)) for package in members] for part, members in parts.items()}
    sections = sorted({package.section for members in parts.values() for package in members})
    return Packages(parts, sections, tags)


def labelled(packages: Iterable[Package], task: str) -> list[Package]:
    """Return the packages that have a label of a task."""
    return [package for package in packages if label(package, task) not in MISSING]


def label(package: Package, task: str) -> str | list[str]:
    """Return a package's label of a task; a task of another name than `summary`, `section`, `tags` translates."""
    return getattr(package, task if task in ("summary", "section", "tags") else "translation")


def records(packages: Iterable[Package], tasks: Iterable[str]) -> tf.data.Dataset:
    """Return rows with a `text` and the labels of some tasks."""
    packages = list(packages)
    fields: dict[str, Any] = {task: [label(package, task) for package in packages] for task in tasks}
    if "tags" in fields:
        fields["tags"] = tf.ragged.constant(fields["tags"], tf.string, ragged_rank=1)
    return tf.data.Dataset.from_tensor_slices({"text": [package.text for package in packages], **fields})


def paragraphs(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Read the paragraphs of a control file, {field: value}; folded lines lose their first blank, or their only dot."""
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        line = line.rstrip()
        if not line:
            if fields:
                yield fields
            fields = {}
        elif line[0].isspace():
            fields[name] += "\n" + ("" if line.strip() == "." else line[1:])
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    if fields:
        yield fields


def first_sentence(text: str) -> str:
    """Return the first sentence of a description, or its first paragraph if that has no end of a sentence."""
    paragraph = " ".join(re.split(r"\n\n|\n\s", text.strip())[0].split())
    for stop in re.finditer(r"[.!?](?= )", paragraph):
        word = paragraph[: stop.start()].rsplit(" ", 1)[-1].lstrip("(")
        is_abbreviation = len(word) == 1 or word.isdigit() or word.lower() in _ABBREVIATIONS
        if not is_abbreviation and not paragraph[stop.end() + 1].islower():
            return paragraph[: stop.end()]
    return paragraph


def _files(folder: Path, name: str, language: str) -> list[Path]:
    paths = sorted(path for path in folder.glob(f"*{name}*") if path.name.endswith(tuple(name + end for end in _OPEN)))
    if not paths:
        raise SystemExit(_HELP.format(folder=folder, name=name, language=language))
    return paths


def _read(paths: Iterable[Path]) -> Iterator[dict[str, str]]:
    for path in paths:
        opener = _OPEN[path.suffix if path.suffix in _OPEN else ""]
        with opener(path, "rt", encoding="utf-8", errors="replace") as file:
            yield from paragraphs(file)


def _descriptions(folder: Path, language: str, other: str) -> dict[tuple[str, str], str]:
    """Return the descriptions in a language by package and checksum of the English one."""
    field = f"Description-{language}"
    entries = _read(_files(folder, f"Translation-{language}", other))
    return {_key(entry): entry[field] for entry in entries if field in entry}


def _key(fields: dict[str, str]) -> tuple[str, str]:
    return fields["Package"], fields.get("Description-md5", "")


def _packages(
    paths: Iterable[Path], english: dict[tuple[str, str], str], translations: dict[tuple[str, str], str]
) -> Iterator[Package]:
    """Read the packages that have a short and a long description."""
    for fields in _read(paths):
        key = _key(fields)
        short, _, long = english.get(key, fields.get("Description", "")).partition("\n")
        translation = first_sentence(translations.get(key, "").partition("\n")[2])
        if short and long.strip():
            yield Package(
                name=key[0],
                source=fields.get("Source", key[0]).split()[0],
                text=" ".join(long.split()),
                summary=short,
                section=fields.get("Section", "misc").rpartition("/")[2],
                tags=re.findall(r"[^,\s]+", fields.get("Tag", "")) or MISSING_TAGS,
                translation=translation,
            )


def _without_duplicates(packages: Iterable[Package]) -> list[Package]:
    """Return one of the packages whose texts differ in numbers only, with as many labels as there are, by name."""
    kept: dict[str, Package] = {}
    for package in sorted(packages, key=lambda package: (package.tags == MISSING_TAGS, package.translation == "")):
        kept.setdefault(re.sub(r"[\d.]+", "0", package.text), package)
    return sorted(kept.values())


def _with_tags(package: Package, tags: set[str]) -> Package:
    if package.tags == MISSING_TAGS:
        return package
    return package._replace(tags=[tag for tag in package.tags if tag in tags])
