"""Data: readers of annotated rows, missing labels, mixtures of data sets that label different tasks, and shards."""

from tf_mtl.data._add_masks import add_masks
from tf_mtl.data._balanced_class_weights import balanced_class_weights
from tf_mtl.data._batch_by_length import batch_by_length
from tf_mtl.data._concatenate import concatenate
from tf_mtl.data._dynamic_rates import DynamicRates
from tf_mtl.data._encode_images import encode_images
from tf_mtl.data._encode_text import encode_text
from tf_mtl.data._from_coco import from_coco
from tf_mtl.data._from_conll import from_conll
from tf_mtl.data._from_label_folder import from_label_folder
from tf_mtl.data._from_mask_folders import from_mask_folders
from tf_mtl.data._from_table import from_csv, from_jsonl
from tf_mtl.data._from_tfds import from_tfds
from tf_mtl.data._from_voc import from_voc
from tf_mtl.data._images_from_csv import images_from_csv
from tf_mtl.data._images_from_tfds import images_from_tfds
from tf_mtl.data._labels_of import labels_of
from tf_mtl.data._mask_missing import mask_missing
from tf_mtl.data._mask_tokens import mask_tokens
from tf_mtl.data._mix import mix
from tf_mtl.data._mixture import Mixture
from tf_mtl.data._sharded import ShardedBatches, sharded
from tf_mtl.data._tfrecords import cache_tfrecords

__all__ = [
    "DynamicRates",
    "Mixture",
    "ShardedBatches",
    "add_masks",
    "balanced_class_weights",
    "batch_by_length",
    "cache_tfrecords",
    "concatenate",
    "encode_images",
    "encode_text",
    "from_coco",
    "from_conll",
    "from_csv",
    "from_jsonl",
    "from_label_folder",
    "from_mask_folders",
    "from_tfds",
    "from_voc",
    "images_from_csv",
    "images_from_tfds",
    "labels_of",
    "mask_missing",
    "mask_tokens",
    "mix",
    "sharded",
]
