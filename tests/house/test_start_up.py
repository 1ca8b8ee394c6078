"""What keeps starts short: what is loaded and made before anybody asked for it."""

from __future__ import annotations

import subprocess
import sys

from launcher.recipe.fields import Section
from launcher.recipe.recipe import Recipe

SECTIONS = """
from launcher.recipe.fields import Section
from launcher.recipe.recipe import Recipe

def below(section):
    return [section, *(each for own in section.__subclasses__() for each in below(own))]

print([each.__name__ for each in below(Section) if each.model_fields and each.__pydantic_complete__])
"""
PLANNED = """
import sys
from launcher import cli

cli.execute(["plan", "recipe=smoke"])
print(sorted(set(sys.modules) & {"psutil", "launcher.cli.run_state", "launcher.reading.cleaning"}))
"""
JOB = """
import sys
import launcher.node

print(sorted(set(sys.modules) & {"click", "email", "importlib.metadata", "pydantic", "torch", "yaml"}))
"""
ROWS = """
import sys, wandb
from launcher.train.record.wandb_results import table_of

table = table_of(wandb, ["text", "confidence"], [["good", 0.5], ["bad", 0.25]])
print(table.data, "pandas" in sys.modules)
"""


def said(code: str) -> str:
    """The last line of a new process that runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout.splitlines()[-1]


def test_no_section_has_a_validator_before_something_is_validated() -> None:
    assert said(SECTIONS) == "[]"


def test_a_section_that_nobody_gives_is_the_one_that_would_be_made_of_nothing() -> None:
    for name, field in Recipe.model_fields.items():
        if isinstance(field.default, Section):
            assert field.default == type(field.default).model_validate({}), name


def test_a_plan_loads_nothing_that_only_runs_need() -> None:
    assert said(PLANNED) == "[]"


def test_the_words_of_a_job_script_load_little_before_a_training_starts() -> None:
    assert said(JOB) == "[]"


def test_tables_for_wandb_need_no_pandas() -> None:
    assert said(ROWS) == "[['good', 0.5], ['bad', 0.25]] False"
