"""`launch init`: where the file goes, what is said, and that the recipe trains as it stands."""

from __future__ import annotations

import json
from pathlib import Path

from support.commands import Launch
from support.shapes import write_shape

TINY = (
    "executor=local",
    "device=cpu",
    "model.name=null",
    "model.init=scratch",
    "model.scratch.hidden=16",
    "model.scratch.layers=1",
    "model.scratch.vocab=200",
    "train.max_steps=3",
    "tracking.wandb.mode=disabled",
)


def test_a_recipe_is_made_told_and_trained_without_editing(launch: Launch, tmp_path: Path) -> None:
    write_shape("nested.jsonl", tmp_path)
    done = launch("init", "nested.jsonl")
    assert done.stdout == "nested.yaml\n"
    assert "'annotation.label' has 2 values that come again and again: classes." in done.stderr
    launch("recipe=./nested.yaml", *TINY, "run_id=first")
    assert json.loads((tmp_path / "runs" / "first" / "result.json").read_text())["status"] == "completed"


def test_a_file_that_is_there_stays_unless_it_is_forced(launch: Launch, tmp_path: Path) -> None:
    write_shape("stars.csv", tmp_path)
    (tmp_path / "stars.yaml").write_text("mine\n")
    refused = launch("init", "stars.csv", code=2)
    assert "stars.yaml: is there already" in refused.stderr
    assert (tmp_path / "stars.yaml").read_text() == "mine\n"
    launch("init", "stars.csv", "--force")
    assert "task: ordinal" in (tmp_path / "stars.yaml").read_text()
    assert (tmp_path / "stars.yaml").stat().st_mode & 0o777 == 0o644


def test_stdout_has_the_recipe_and_nothing_else_where_it_is_asked_for(launch: Launch, tmp_path: Path) -> None:
    write_shape("stars.csv", tmp_path)
    done = launch("init", "stars.csv", "task=classification", "--output", "-")
    assert done.stdout.startswith("# Made by launch init")
    assert "task: classification" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stars.csv"]


def test_texts_in_a_folder_for_each_class_are_gathered_beside_the_recipe(
    launch: Launch, tmp_path: Path
) -> None:
    for split, count in (("train", 30), ("test", 12)):
        for name in ("neg", "pos"):
            (tmp_path / "reviews" / split / name).mkdir(parents=True)
            for number in range(count):
                text = f"It was a {'fine' if name == 'pos' else 'poor'} film, the {number}th.\n<br />And so on.\n"
                (tmp_path / "reviews" / split / name / f"{number}.txt").write_text(text)
    done = launch("init", "reviews", "--output", "recipe.yaml")
    assert "gathered from the folders: reviews-train.jsonl, reviews-test.jsonl" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "reviews-train.jsonl").read_text().splitlines()]
    assert (len(rows), {row["label"] for row in rows}, rows[0]["file"]) == (60, {"neg", "pos"}, "neg/0.txt")
    plan = json.loads(launch("plan", "recipe=./recipe.yaml", "executor=local", "--json").stdout)
    assert (plan["recipe"]["data"]["label"], plan["recipe"]["task"]) == ("label", "classification")
    assert "is there already" in launch("init", "reviews", "--output", "other.yaml", code=2).stderr
    assert "holds a folder for each class" in launch("init", "reviews", "--output", "-", code=2).stderr


def test_json_has_every_key_with_its_reason(launch: Launch, tmp_path: Path) -> None:
    write_shape("stars.csv", tmp_path)
    document = json.loads(launch("init", "stars.csv", "--json").stdout)
    assert document["keys"]["data.label"]["value"] == "stars"
    assert document["keys"]["task"]["why"].startswith("'stars' has the whole numbers 1 to 5")
    assert [other["task"] for other in document["other_tasks"]] == ["classification", "masked-lm"]


def test_mistakes_are_told_and_leave_nothing_behind(launch: Launch, tmp_path: Path) -> None:
    write_shape("stars.csv", tmp_path)
    assert "did you mean" in launch("init", "star.csv", code=2).stderr
    assert "unknown key" in launch("init", "stars.csv", "nodez=2", code=2).stderr
    assert "did you mean ordinal?" in launch("init", "stars.csv", "task=ordinall", code=2).stderr
    assert "there is no such directory" in launch("init", "stars.csv", "--output", "no/x.yaml", code=2).stderr
    assert "name a file of data" in launch("init", code=2).stderr
    for folder, names in (
        ("runs/r", ("plan.json", "recipe.yaml")),
        ("m", ("config.json", "model.safetensors")),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).write_text("{}")
    assert "runs/r: is a run, and holds no data" in launch("init", "runs/r", code=2).stderr
    assert "runs: holds runs, and no data" in launch("init", "runs", code=2).stderr
    assert "name files of data; model.name=m starts from it" in launch("init", "m", code=2).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "runs", "stars.csv"]
