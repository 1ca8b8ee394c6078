"""The plan: a recipe resolved on a machine and a cluster, without touching either."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from launcher.engine.machine import asked_threads
from launcher.families import known_shape
from launcher.planning.conflicts import plan_conflicts
from launcher.planning.plan import Identity, Plan, make_plan, step_counts
from launcher.planning.surroundings import DataSize, Machine
from launcher.recipe.cluster import Cluster
from launcher.recipe.conflicts import conflicts
from launcher.recipe.recipe import Recipe
from launcher.runs.time_limits import minutes

IDENTITY = Identity("roberta-cls", "run-1", "/runs/run-1", "/usr/bin/python3", None, "0.1.0")
LAPTOP = Machine()
LOGIN_NODE = Machine(scheduler="slurm")
ROBERTA = known_shape("FacebookAI/roberta-base")
SST2 = DataSize(train_examples=67_349)


def recipe(**keys: Any) -> Recipe:
    tree = {
        "task": "classification",
        "model": {"name": "FacebookAI/roberta-base"},
        "data": {"train": "a.csv"},
    }
    return Recipe.model_validate_json(json.dumps({**tree, **keys}))


def cluster(**keys: Any) -> Cluster:
    return Cluster.model_validate_json(json.dumps(keys))


def planned(
    wanted: Recipe, site: Cluster | None = None, machine: Machine = LAPTOP, data: DataSize = SST2
) -> Plan:
    return make_plan(wanted, site or Cluster(), machine, IDENTITY, ROBERTA, data)


def fields_of_conflicts(wanted: Recipe, site: Cluster | None = None, machine: Machine = LAPTOP) -> list[str]:
    return [conflict.fields[0] for conflict in plan_conflicts(wanted, site or Cluster(), machine, ROBERTA)]


@pytest.mark.parametrize(
    ("wanted", "machine", "executor"),
    [
        ("auto", LAPTOP, "local"),
        ("auto", LOGIN_NODE, "slurm"),
        ("local", LOGIN_NODE, "local"),
        ("slurm", LAPTOP, "slurm"),
    ],
)
def test_auto_means_slurm_where_jobs_can_be_submitted(wanted: str, machine: Machine, executor: str) -> None:
    assert planned(recipe(executor=wanted), machine=machine).executor == executor


@pytest.mark.parametrize(
    ("site", "machine", "device", "gpus"),
    [
        (cluster(gpus_per_node=8), LOGIN_NODE, "cuda", 8),
        (cluster(gpus_per_node=0), LOGIN_NODE, "cpu", 1),
        (cluster(), replace(LOGIN_NODE, scheduler_gpus=4), "cuda", 4),
        (cluster(), replace(LOGIN_NODE, scheduler_gpus=0), "cpu", 1),
        (cluster(), LOGIN_NODE, "cuda", 1),
        (cluster(), LAPTOP, "cpu", 1),
        (cluster(), Machine(gpus=2), "cuda", 2),
    ],
)
def test_auto_uses_gpus_unless_there_are_none(
    site: Cluster, machine: Machine, device: str, gpus: int
) -> None:
    plan = planned(recipe(), site, machine)

    assert (plan.device, plan.gpus) == (device, gpus)


def test_ranks_that_are_asked_for_on_a_cluster_nobody_describes_are_gpus() -> None:
    plan = planned(recipe(nodes=64, gpus=8), machine=LOGIN_NODE)

    assert (plan.device, plan.world_size) == ("cuda", 512)
    assert plan.request is not None
    assert plan.request.gpu_option == "--gpus-per-node=8"


@pytest.mark.parametrize(
    ("nodes", "stage", "planned_stage"), [(1, None, 0), (4, None, 2), (1, 2, 2), (4, 0, 0)]
)
def test_a_null_stage_is_plain_on_one_rank_and_zero_2_on_more(
    nodes: int, stage: int | None, planned_stage: int
) -> None:
    plan = planned(recipe(nodes=nodes, gpus=1, zero={"stage": stage}), machine=LOGIN_NODE)

    assert plan.zero_stage == planned_stage
    assert plan.strategy == ("deepspeed" if planned_stage else "plain")


def test_the_global_batch_is_laid_out_on_any_number_of_ranks() -> None:
    plan = planned(recipe(nodes=3, gpus=1, batch={"global": 32, "micro": 4}), machine=LOGIN_NODE)

    assert plan.layout.global_batch_size == 32
    assert plan.layout.examples_per_rank == 11
    assert plan.layout.micro_batch_size == 4
    assert plan.layout.gradient_accumulation_steps == 3
    assert any("uneven" in note for note in plan.notes)


def test_micro_batches_fit_the_gpu_that_the_profile_describes() -> None:
    large = known_shape("FacebookAI/roberta-large")
    wanted = recipe(batch={"global": 256}, model={"name": "FacebookAI/roberta-large"})

    def micro(gib: float) -> int:
        site = cluster(gpus_per_node=1, gpu_memory_gib=gib)
        return make_plan(wanted, site, LOGIN_NODE, IDENTITY, large, SST2).layout.micro_batch_size

    assert 1 <= micro(16) < micro(80) <= 256


def test_steps_follow_from_the_data_and_are_unknown_without_it() -> None:
    assert step_counts(recipe(train={"epochs": 1, "warmup": 0.06}), 67_349) == (2105, 2105, 127)
    assert step_counts(recipe(train={"max_steps": 10, "warmup": 3}), 100) == (4, 10, 3)
    assert planned(recipe(), data=DataSize()).steps.total is None


def test_lora_needs_less_memory_and_sends_less_than_full_fine_tuning() -> None:
    full, lora = (planned(recipe(tuning=tuning, gpus=2, nodes=1)) for tuning in ("full", "lora"))

    assert lora.memory.optimizer is not None
    assert full.memory.optimizer is not None
    assert lora.memory.optimizer < full.memory.optimizer / 10
    assert (lora.traffic.bytes_per_step or 0) < (full.traffic.bytes_per_step or 0) / 10


def test_an_unknown_model_leaves_memory_unknown_and_says_so() -> None:
    plan = make_plan(recipe(), Cluster(), LAPTOP, IDENTITY, None, SST2)

    assert plan.memory.total is None
    assert any("memory unknown" in note for note in plan.notes)


def test_the_plan_id_depends_on_what_is_planned_alone() -> None:
    first = planned(recipe())
    elsewhere = replace(IDENTITY, run_id="run-2", run_dir="/other/run-2", python="/opt/python")
    again = make_plan(
        recipe(run_id="run-2", runs_dir="other"),
        Cluster(),
        replace(LAPTOP, native_bf16=False),
        elsewhere,
        ROBERTA,
        SST2,
    )

    assert again.plan_id == first.plan_id
    assert planned(recipe(seed=7)).plan_id != first.plan_id


def test_a_plan_survives_being_written_down() -> None:
    plan = planned(recipe(nodes=2), cluster(gpus_per_node=4, time="1:00:00"), LOGIN_NODE)

    assert Plan.model_validate_json(json.dumps(plan.tree())) == plan


def test_several_nodes_without_slurm_are_refused_with_a_way_out() -> None:
    (conflict,) = plan_conflicts(recipe(nodes=4), Cluster(), LAPTOP, ROBERTA)

    assert conflict.fields[0] == "nodes"
    assert "make cluster" in conflict.remedy


@pytest.mark.parametrize(
    ("keys", "site", "machine", "field"),
    [
        ({"nodes": 9}, {"limits": {"nodes": 8}}, LOGIN_NODE, "nodes"),
        ({"gpus": 16}, {"gpus_per_node": 8}, LOGIN_NODE, "gpus"),
        ({"time": "2-00"}, {"limits": {"time": "24:00:00"}, "gpus_per_node": 1}, LOGIN_NODE, "time"),
        ({"device": "cuda"}, {"gpus_per_node": 0}, LOGIN_NODE, "device"),
        ({"device": "cuda"}, {}, LAPTOP, "device"),
        ({"gpus": 4}, {}, Machine(gpus=2), "gpus"),
        ({"precision": "fp16"}, {}, LAPTOP, "precision"),
        ({"data": {"train": "a.csv", "max_length": 513}}, {}, LAPTOP, "data.max_length"),
        ({"tuning": "lora", "lora": {"targets": ["qery"]}}, {}, LAPTOP, "lora.targets"),
        (
            {
                "task": "embedding",
                "data": {"train": "a.csv", "text": ("a", "b")},
                "embedding": {"dimensions": [769, 64]},
            },
            {},
            LAPTOP,
            "embedding.dimensions",
        ),
    ],
)
def test_what_does_not_fit_the_machine_the_cluster_or_the_model(
    keys: dict[str, Any], site: dict[str, Any], machine: Machine, field: str
) -> None:
    assert fields_of_conflicts(recipe(**keys), cluster(**site), machine) == [field]


@pytest.mark.parametrize("length", [{"max_steps": 600}, {"epochs": 6}])
def test_a_warm_up_longer_than_the_training(length: dict[str, Any]) -> None:
    def found(warmup: float, examples: int | None = 3200) -> list[str]:
        asked = recipe(train={"warmup": warmup, **length})
        return [conflict.message for conflict in plan_conflicts(asked, Cluster(), LAPTOP, ROBERTA, examples)]

    assert found(99_999) == ["the whole training has 600 steps"]
    assert found(600) == found(0.5) == []
    assert bool(found(99_999, examples=None)) == ("max_steps" in length)


def test_a_range_of_nodes_is_refused_where_a_checkpoint_fits_its_ranks_alone() -> None:
    sharded = {"stage": 3, "offload": "nvme", "nvme_path": "/nvme"}
    found = [conflict.fields for conflict in conflicts(recipe(nodes="2..4", zero=sharded))]
    assert found == [("nodes", "zero.offload")]
    assert list(conflicts(recipe(nodes="2..4", zero={"stage": 3, "offload": "cpu"}))) == []
    assert fields_of_conflicts(recipe(nodes="2..4"), cluster(limits={"nodes": 3}), LOGIN_NODE) == ["nodes"]


def test_a_recipe_that_fits_has_no_conflicts() -> None:
    assert fields_of_conflicts(recipe(nodes=4), cluster(gpus_per_node=8), LOGIN_NODE) == []


def test_a_job_must_have_time_left_beside_its_grace() -> None:
    site = cluster(grace_s=600)
    assert fields_of_conflicts(recipe(nodes=2, time="10"), site, LOGIN_NODE) == ["time"]
    assert fields_of_conflicts(recipe(nodes=2, time="11"), site, LOGIN_NODE) == []


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("90", 90), ("1:30", 1.5), ("1:30:00", 90), ("1-0", 1440), ("1-12:30", 2190), ("0-00:00:30", 0.5)],
)
def test_slurm_time_limits_in_minutes(limit: str, expected: float) -> None:
    assert minutes(limit) == expected


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ["microsoft/mdeberta-v3-base", "microsoft/deberta-v3-base"])
def test_a_model_that_overflows_in_fp16_is_refused_before_the_launch(name: str, precision: str) -> None:
    wanted = recipe(model={"name": name}, precision=precision, device="cuda")
    found = list(plan_conflicts(wanted, Cluster(), LOGIN_NODE, known_shape(name)))
    assert [c.fields[0] for c in found] == (
        ["precision"] if "mdeberta" in name and precision == "fp16" else []
    )
    assert all("precision=bf16" in conflict.remedy for conflict in found)


@pytest.mark.parametrize("stage", [0, 2, None])
def test_each_row_of_the_table_of_nodes_is_the_plan_of_that_number_of_nodes(stage: int | None) -> None:
    site = cluster(gpus_per_node=1, gpu_model="A100", gpu_memory_gib=8)
    size = DataSize(train_examples=67_349, mean_chars=1800.0)

    def rates(nodes: int) -> dict[int, float]:
        wanted = recipe(nodes=nodes, batch={"global": 64}, zero={"stage": stage})
        plan = planned(wanted, site, LOGIN_NODE, size)
        assert plan.throughput.examples_per_s == dict(plan.throughput.by_nodes)[nodes]
        return dict(plan.throughput.by_nodes)

    one, four = rates(1), rates(4)
    assert {nodes: four[nodes] for nodes in one} == one


@pytest.mark.parametrize("name", ["P100", "T400", "A100_1g.5gb", "NVIDIA RTX 6000 Ada Generation"])
def test_a_gpu_of_which_nothing_is_known_is_said_to_be_one(name: str) -> None:
    """A T400 is no T4, and a slice of a GPU has not the rates of the whole."""
    plan = planned(
        recipe(nodes=2), cluster(gpus_per_node=1, gpu_model=name), LOGIN_NODE, DataSize(2400, 60.0)
    )
    assert plan.throughput.examples_per_s is None
    (note,) = [
        note for note in plan.notes if note.startswith(f"nothing is known of a {name}, so that no speed")
    ]
    assert "known are B200, GH200, H200, H100-PCIE, H100, H800" in note


def test_a_plan_without_a_speed_says_why_and_blames_no_gpu_that_is_known() -> None:
    of_the_hub, counted = DataSize(), DataSize(2400, 60.0)
    for model, size, said in (
        ("NVIDIA A100 80GB PCIe", of_the_hub, []),
        (None, counted, ["no speed is predicted, since no gpu_model says what GPUs the nodes have"]),
    ):
        site = cluster(gpus_per_node=1, gpu_model=model)
        plan = planned(recipe(nodes=2, device="cuda"), site, LOGIN_NODE, size)
        assert plan.throughput.examples_per_s is None
        assert [note for note in plan.notes if "speed" in note] == said


@pytest.mark.parametrize(
    ("keys", "submits", "executor"),
    [
        ({"nodes": 4}, False, "slurm"),
        ({"cluster": "site"}, False, "slurm"),
        ({}, False, "local"),
        ({"nodes": 4, "executor": "local"}, False, "local"),
        ({"cluster": "site"}, True, "local"),
    ],
)
def test_a_plan_that_is_only_shown_needs_no_cluster(
    keys: dict[str, Any], submits: bool, executor: str
) -> None:
    plan = planned(recipe(**keys), machine=Machine(submits=submits))
    assert plan.executor == executor
    assert any("not set up here" in note for note in plan.notes) == (executor == "slurm")


def test_steps_that_are_counted_on_the_node_have_their_true_reason() -> None:
    large = planned(recipe(), data=DataSize()).notes
    hub = planned(
        recipe(data={"source": "glue:sst2", "text": "sentence", "label": "label"}), data=DataSize()
    ).notes
    assert any("too large for their rows to be counted" in note for note in large)
    assert any("hub data" in note for note in hub)
    assert not any("hub data" in note for note in large)
    folder = planned(recipe(data={"source": "/data/saved"}), data=DataSize()).notes
    assert any("how many rows data.source has is not known" in note for note in folder)
    fewer = planned(
        recipe(data={"train": "a.csv", "clean": {"drop_duplicates": True}}), data=DataSize()
    ).notes
    assert any("how many rows data.clean.drop_duplicates leaves out" in note for note in fewer)
    few = planned(recipe(data={"train": "a.csv", "shots": 8}), data=DataSize()).notes
    assert any("how many classes data.shots is meant for" in note for note in few)


def test_a_plan_counts_on_no_more_cores_than_a_process_may_use_here() -> None:
    data, eight = DataSize(train_examples=67_349, mean_chars=60.0), Machine(cores=8)
    held_back = replace(eight, threads=2)

    def cores(gpus: int, machine: Machine) -> str | None:
        return planned(recipe(device="cpu", gpus=gpus), machine=machine, data=data).throughput.device

    assert (cores(1, eight), cores(1, held_back)) == ("8 CPU cores", "2 CPU cores")
    assert (cores(2, eight), cores(2, held_back)) == ("4 CPU cores", "2 CPU cores")
    assert cores(8, held_back) == "1 CPU cores"
    assert asked_threads({"OMP_NUM_THREADS": "3,1"}) == 3
    assert [asked_threads({"OMP_NUM_THREADS": text}) for text in ("", "0", "-1", "many")] == [None] * 4
    assert asked_threads({}) is None
