"""What nvidia-smi says, in its several versions and moods; a stand-in says it here."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.stand_ins import stand_in

from launcher.health import gpus
from launcher.health.gpus import Gpu

GIB = 1 << 30


@pytest.fixture
def smi(commands: Path) -> Path:
    """Where to write the stand-in."""
    return commands / "nvidia-smi"


def test_every_figure_is_read(smi: Path) -> None:
    stand_in(smi, "echo '0, GPU-1a, NVIDIA H100 80GB HBM3, 81920, 1024, 2, No, Reset'")
    gpu = Gpu(0, "GPU-1a", "NVIDIA H100 80GB HBM3", 80 * GIB, GIB, 2, False, "Reset", is_judged=True)
    assert gpus.look({}) == gpus.Gpus((gpu,))


def test_what_a_gpu_does_not_have_is_not_known(smi: Path) -> None:
    stand_in(smi, "echo '0, GPU-1a, GeForce, 8192, 0, [N/A], [N/A], [N/A]'")
    assert gpus.look({}).found == (Gpu(0, "GPU-1a", "GeForce", 8 * GIB, 0),)


def test_a_driver_that_asks_for_nothing_is_told_from_one_that_doesn_t_say(smi: Path) -> None:
    """Errors of the past that the GPU does without are no reason to leave a node out."""
    for action, recovery, is_judged in (
        ("None", None, True),
        ("Drain P2P", "Drain P2P", True),
        ("[N/A]", None, False),
    ):
        stand_in(smi, f"echo '0, GPU-1a, H100, 81920, 0, 2, No, {action}'")
        (gpu,) = gpus.look({}).found
        assert (gpu.ecc_errors, gpu.recovery, gpu.is_judged) == (2, recovery, is_judged)


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (r"printf '\xff\xfe garbage'", "nvidia-smi says '\ufffd\ufffd garbage'"),
        ("echo '<html> 503 </html>'", "nvidia-smi says '<html> 503 </html>'"),
        ("true", "nvidia-smi says nothing"),
        ("echo broken >&2; exit 9", "broken"),
    ],
)
@pytest.mark.fault(35)
def test_what_is_no_table_is_quoted(smi: Path, says: str, error: str) -> None:
    stand_in(smi, says)
    assert gpus.look({}) == gpus.Gpus(error=error)


def test_a_figure_without_end_is_none_and_a_gpu_listed_twice_is_one(smi: Path) -> None:
    line = f"0, GPU-1a, H100, {'9' * 5000}, 0, 0, No, None"
    stand_in(smi, f"echo '{line}'; echo '{line}'")
    (gpu,) = gpus.look({}).found
    assert gpu.memory is None


def test_gpus_without_an_id_are_told_apart_by_their_numbers(smi: Path) -> None:
    stand_in(smi, 'for gpu in 0 1; do echo "$gpu, [N/A], vGPU, 8192, 0, [N/A], [N/A], [N/A]"; done')
    assert [gpu.index for gpu in gpus.look({}).found] == [0, 1]


def test_an_older_driver_is_asked_for_less(smi: Path) -> None:
    refusal = """[[ $1 != *recovery* ]] || { echo 'Field "gpu_recovery_action" is not a valid field to query.'; exit 2; }"""
    stand_in(smi, f"{refusal}\necho '0, GPU-1a, V100, 16384, 0, 0, [N/A]'")
    assert gpus.look({}) == gpus.Gpus((Gpu(0, "GPU-1a", "V100", 16 * GIB, 0, 0),))


@pytest.mark.fault(35)
def test_a_gpu_that_fell_off_the_bus_is_missing_and_said(smi: Path) -> None:
    lost = "Unable to determine the device handle for gpu 0000:9D:00.0: GPU is lost. Reboot to recover"
    stand_in(smi, f"echo '0, GPU-1a, H100, 81920, 0, 0, No, None'; echo '{lost}'; exit 15")
    found = gpus.look({})
    assert ([gpu.index for gpu in found.found], found.error) == ([0], lost)


@pytest.mark.parametrize(
    ("visible", "indices"), [("", [0, 1]), ("1", [1]), ("GPU-2", [1]), ("MIG-GPU-1a/1/0", [0, 1]), ("7", [])]
)
def test_only_the_gpus_of_the_job_count(smi: Path, visible: str, indices: list[int]) -> None:
    stand_in(
        smi, "echo '0, GPU-1a, H100, 81920, 0, 0, No, None'; echo '1, GPU-2b, H100, 81920, 0, 0, No, None'"
    )
    assert [gpu.index for gpu in gpus.look({"CUDA_VISIBLE_DEVICES": visible}).found] == indices


def test_what_others_use_of_the_other_parts_of_a_gpu_is_their_business(smi: Path) -> None:
    stand_in(smi, "echo '0, GPU-1a, NVIDIA A100-SXM4-40GB, 40960, 30000, 0, No, None'")
    parts = {"CUDA_VISIBLE_DEVICES": "MIG-1b0c4b8e-6f1c-5b2e-8a44-0d3f6c7d9e10"}
    assert [gpu.used for gpu in gpus.look(parts).found] == [None]
    assert [gpu.used for gpu in gpus.look({"CUDA_VISIBLE_DEVICES": "0"}).found] == [30000 << 20]


def test_a_machine_without_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.look({}) == gpus.Gpus(error="nvidia-smi is not on PATH")


@pytest.mark.fault(35)
def test_one_that_hangs_is_not_waited_for(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "TIMEOUT_S", 0.2)
    stand_in(smi, "exec sleep 60")
    assert gpus.look({}).error == "nvidia-smi did not return in 0 s"
