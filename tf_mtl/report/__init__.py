"""What multi-task learning gained or cost: tables and plots."""

from tf_mtl.report.compare import Comparison as Comparison
from tf_mtl.report.compare import compare as compare
from tf_mtl.report.curves import curves as curves
from tf_mtl.report.table import table as table
from tf_mtl.report.variants import variants as variants
