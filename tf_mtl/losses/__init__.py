"""Losses that Keras lacks, and the mean over labelled rows that every task's loss is."""

from tf_mtl.losses.cellwise_binary_crossentropy import CellwiseBinaryCrossentropy as CellwiseBinaryCrossentropy
from tf_mtl.losses.crf_negative_log_likelihood import CRFNegativeLogLikelihood as CRFNegativeLogLikelihood
from tf_mtl.losses.masked import as_loss as as_loss
from tf_mtl.losses.masked import clean_labels as clean_labels
from tf_mtl.losses.masked import weighted_sums as weighted_sums
