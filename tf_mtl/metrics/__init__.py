"""Metrics that Keras lacks; all are exact over a data set and over replicas unless they say otherwise."""

from tf_mtl.metrics.balance import Balance as Balance
from tf_mtl.metrics.binary_accuracy import LogitsBinaryAccuracy as LogitsBinaryAccuracy
from tf_mtl.metrics.f1 import MacroF1 as MacroF1
from tf_mtl.metrics.f1 import MultiLabelF1 as MultiLabelF1
from tf_mtl.metrics.frame_accuracy import FrameAccuracy as FrameAccuracy
from tf_mtl.metrics.pearson import Pearson as Pearson
from tf_mtl.metrics.span_f1 import SpanF1 as SpanF1
from tf_mtl.metrics.spearman import Spearman as Spearman
from tf_mtl.metrics.task_losses import TaskLosses as TaskLosses
from tf_mtl.metrics.task_metrics import TaskMetrics as TaskMetrics
from tf_mtl.metrics.task_metrics import as_metrics as as_metrics
