"""How long a save takes before any was made, and what is said of it."""

from __future__ import annotations

from support.plans import plan_of, rendered

from launcher.planning.render import allocated_nodes
from launcher.planning.save_time import notice_s, save_notes, save_s
from launcher.runs.checkpoint_size import checkpoint_bytes

LARGE = checkpoint_bytes(355_000_000, None, 1)
"""RoBERTa-large with AdamW: 4.3 GB."""


def test_a_checkpoint_holds_weights_and_two_moments_of_each() -> None:
    assert checkpoint_bytes(1000, None, 1) == 12_000
    assert checkpoint_bytes(1000, 8000, 1) == 12_000
    assert checkpoint_bytes(1000, 0, 2) == 12_000  # it is offloaded
    assert checkpoint_bytes(1000, 2000, 4) == 12_000
    assert checkpoint_bytes(None, None, 1) is None


def test_a_job_is_asked_to_stop_in_time_for_two_saves() -> None:
    assert notice_s("1:00:00", None, checkpoint_bytes(1000, None, 1)) == 120
    assert notice_s("1:00:00", None, LARGE) == 120
    assert notice_s("1:00:00", None, 4 * (LARGE or 0)) == int(60 + 2 * save_s(4 * (LARGE or 0))) == 230
    assert notice_s("4", None, 4 * (LARGE or 0)) == 60
    assert notice_s("4", 10, LARGE) == 10
    assert notice_s(None, None, None) == 120


def test_what_is_too_short_for_a_save_is_said() -> None:
    assert list(save_notes("1:00:00", None, None, LARGE)) == []
    assert list(save_notes("1:00:00", None, 30.0, LARGE)) == []
    [profile] = save_notes("1:00:00", 10, None, LARGE)
    assert "takes about 21 s" in profile
    assert "asked to stop 10 s before its time limit: give a larger grace_s in the profile" in profile
    [short] = save_notes("1", None, None, LARGE)
    assert "asked to stop 15 s before its time limit: give more time" in short
    [preempted] = save_notes("1:00:00", None, 10.0, LARGE)
    assert "is given 10 s when it must give way to another" in preempted


def test_a_small_model_fits_everywhere() -> None:
    assert list(save_notes("1", 1, 0.0, checkpoint_bytes(100_000_000 // 12, None, 1))) == []


def test_spare_nodes_stay_within_the_limit_of_the_site() -> None:
    def allocated(**limits: int) -> str:
        return allocated_nodes(
            plan_of({"executor": "slurm", "nodes": 3}, {"spare_nodes": 2, "limits": limits})
        )

    assert (allocated(), allocated(nodes=8), allocated(nodes=4), allocated(nodes=3)) == ("5", "5", "4", "3")


def test_a_range_of_nodes_is_asked_for_as_such_and_planned_for_the_most() -> None:
    plan = plan_of({"executor": "slurm", "nodes": "2..4"}, {"spare_nodes": 2})
    assert (plan.nodes, plan.least_nodes, plan.world_size, allocated_nodes(plan)) == (4, 2, 4, "2-4")
    script = rendered(plan)["job.sbatch"]
    assert "#SBATCH --nodes=2-4\n" in script
    assert "#SBATCH --ntasks" not in script, "of a range Slurm takes the fewest where it is told the tasks"
