"""The manifest of an Indexed Job: its processes find each other, and ends are answered as told."""

import pathlib

import yaml

from rffr_jax.cluster.launch import Launch, find_launch

MANIFEST = pathlib.Path(__file__).parents[2] / "scripts" / "kubernetes" / "pretrain.yaml"


def test_pods_of_the_job_are_one_run():
    service, job = yaml.safe_load_all(MANIFEST.read_text())
    assert [service["kind"], job["kind"], job["apiVersion"]] == ["Service", "Job", "batch/v1"]
    name, spec = job["metadata"]["name"], job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    (container,) = spec["template"]["spec"]["containers"]
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in container["args"])
    assert int(flags["processes"]) == spec["completions"]
    # A pod of an Indexed Job is called JOB-INDEX; the headless service gives it a name.
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert flags["coordinator"].partition(":")[0] == f"{name}-0.{service['metadata']['name']}"
    launches = [
        find_launch(
            {"JOB_COMPLETION_INDEX": str(index)},
            coordinator=flags["coordinator"],
            processes=int(flags["processes"]),
        )
        for index in range(spec["completions"])
    ]
    # No index on the machine: each takes all GPUs of its pod.
    assert launches == [Launch(index, 2, flags["coordinator"], "", None) for index in range(2)]
    assert flags["config"] == "configs/pretrain.py"


def test_only_a_mistake_or_a_defect_ends_the_job():
    _, job = yaml.safe_load_all(MANIFEST.read_text())
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["values"] == [1, 2]
    assert job["spec"]["backoffLimitPerIndex"] > 1
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
