"""`python -m worker.gpus`, in a process of its own, as `moco doctor` runs it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pynvml
import pytest

from tests.support.gpus.fake_nvml import FakeCard, FakeInstance, FakeMachine, environment

EIGHT = FakeMachine(tuple(FakeCard(f"GPU-{i}") for i in range(8)), nvlink=True)


def lines(machine: FakeMachine, device: str = "auto", **env: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "worker.gpus", device],
        env={k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        | environment(machine)
        | env,
        capture_output=True,
        text=True,
        check=True,
    )
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return findings


def of(findings: list[dict[str, Any]], name: str) -> list[tuple[str, str]]:
    return [(row["state"], row["finding"]) for row in findings if row["name"] == name]


def test_eight_gpus() -> None:
    findings = lines(EIGHT)
    assert of(findings, "gpu driver") == [
        ("ok", "580.95.05, runs CUDA 13.0; torch 2.15.0+cu130 is built for CUDA 13.0")
    ]
    assert of(findings, "gpu 7") == [("ok", "NVIDIA H200, GPU-7, 141 GiB, sm_90, bf16")]
    assert of(findings, "gpu paths") == [("ok", "nvlink")]
    assert of(findings, "devices")[0][1].startswith("8 GPUs for a worker, ")
    facts = [row["gpu"] for row in findings if "gpu" in row]
    assert [gpu["uuid"] for gpu in facts] == [f"GPU-{i}" for i in range(8)]
    assert facts[0]["condition"] == {
        "card": 0,
        "mig": False,
        "compute_mode": "default",
        "persistence": True,
        "uncorrected_errors": 0,
        "remap_pending": False,
        "remap_failed": False,
    }
    assert {row["state"] for row in findings if row["name"] != "shared memory"} == {"ok"}
    assert of(lines(EIGHT, CUDA_VISIBLE_DEVICES="1,2"), "devices")[0][1].startswith(
        "2 GPUs for a worker, "
    )
    assert of(lines(EIGHT, "cuda:8"), "devices") == [("fail", "a worker would refuse to start")]


def test_everything_that_disturbs_work_is_said() -> None:
    instances = (FakeInstance("MIG-1"),)
    cards = (
        FakeCard("GPU-t4", "Tesla T4", (7, 5), compute_mode=3, persistence=0),
        FakeCard(
            "GPU-k80",
            "Tesla K80",
            (3, 7),
            mig=None,
            errors={
                "nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_NOT_SUPPORTED,
                "nvmlDeviceGetTotalEccErrors": pynvml.NVML_ERROR_NOT_SUPPORTED,
            },
        ),
        FakeCard("GPU-ecc", uncorrected=2, remapping=(0, 2, 1, 1)),
        FakeCard("GPU-mig", mig=True, instances=instances),
        FakeCard("GPU-x", errors={"nvmlDeviceGetHandleByIndex": pynvml.NVML_ERROR_GPU_IS_LOST}),
    )
    findings = lines(FakeMachine(cards))
    assert [state for state, _ in of(findings, "gpu 0")] == ["warn", "warn", "warn"]
    text = json.dumps(findings)
    for words in (
        *("no bf16: jobs with", "compute mode is exclusive", "persistence mode is off"),
        *("compute capability 3.7", "no sensor for power, cannot be used", "2 memory errors"),
        *("wait to be replaced", "could not be replaced", "GPU 4 does not answer"),
        *("MIG-1, 10 GiB, sm_90, bf16, no sensor for utilization, temperature, power, energy",),
        "unlike cards",
    ):
        assert words in text
    assert of(findings, "gpu paths") == [("ok", "pcie")]
    assert of(findings, "devices")[0][1].startswith(
        "3 GPUs for a worker, "
    )  # the T4, the third card, MIG-1


def test_an_old_driver_is_said_before_a_worker_starts() -> None:
    old = replace(EIGHT, driver="550.54.15", cuda=12040)
    findings = lines(old)
    assert [state for state, _ in of(findings, "gpu driver")] == ["fail"]
    (choice,) = [row for row in findings if row["name"] == "devices"]
    assert (choice["state"], "driver 580.65.06 or newer" in choice["next"]) == ("fail", True)
    findings = lines(old, "cpu")
    assert {of(findings, name)[0][0] for name in ("gpu driver", "devices")} == {"warn", "ok"}


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "ok"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "fail"),
    ],
)
def test_no_driver_is_fine_and_a_broken_one_is_not(code: int, state: str) -> None:
    (choice,) = lines(FakeMachine(init_error=code))
    assert (choice["name"], choice["state"]) == ("devices", state)
