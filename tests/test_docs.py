"""The pages under docs/ say what the code does."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_of_methods_is_up_to_date():
    script = runpy.run_path(str(DOCS / "balancing_table.py"))
    assert script["page"]() == (DOCS / "balancing.md").read_text(), "run `python docs/balancing_table.py`"
    assert script["table"]().count("\n| `") == 35
