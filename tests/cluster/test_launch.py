"""Which process of how many this is, from flags and from the environments of launchers."""

import pytest

from rffr_jax.cluster.launch import Launch, find_launch
from rffr_jax.errors import UserError

SLURM = {"SLURM_JOB_ID": "17", "SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}
STEP = {**SLURM, "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NODELIST": "node[1-2]"}
OMPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
OLD_OMPI = {**OMPI, "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911"}
HERE = "node1:1234"


@pytest.mark.parametrize(
    ("environment", "flags", "expected"),
    [
        ({}, {}, None),
        (STEP, {}, Launch(5, 8, "", "slurm", 1)),
        (SLURM, {}, None),  # a batch script: tasks are asked for, none is started yet
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1"}, {}, None),  # a shell inside an allocation of 8
        (OLD_OMPI, {}, Launch(3, 4, "", "ompi", 1)),
        ({**OLD_OMPI, "OMPI_COMM_WORLD_SIZE": "1"}, {}, None),
        (OMPI, {"coordinator": HERE}, Launch(3, 4, HERE, "ompi", 1)),
        (
            {},
            {"coordinator": HERE, "processes": 3, "process": 2},
            Launch(2, 3, HERE, "", None),
        ),
        ({}, {"coordinator": HERE, "processes": 1, "process": 0}, None),
        (
            {"JOB_COMPLETION_INDEX": "1"},
            {"coordinator": HERE, "processes": 3},
            Launch(1, 3, HERE, "", None),
        ),
        ({"JOB_COMPLETION_INDEX": "1"}, {}, None),  # jobs of an array that know nothing of others
        # One task on every machine takes all of it.
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}, {}, Launch(5, 8, "", "slurm", 1)),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "1(x8)"}, {}, Launch(5, 8, "", "slurm", None)),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "1(x7),2"}, {}, Launch(5, 8, "", "slurm", 1)),
        ({**OLD_OMPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, {}, Launch(3, 4, "", "ompi", 1)),
        ({**OLD_OMPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, {}, Launch(3, 4, "", "ompi", None)),
        (STEP, {"processes": 2, "process": 1}, Launch(1, 2, "", "slurm", 1)),
    ],
)
def test_processes_are_found_where_there_are_several(environment, flags, expected):
    assert find_launch(environment, **flags) == expected


@pytest.mark.parametrize(
    ("environment", "flags", "message"),
    [
        ({}, {"process": 1}, "needs --coordinator=HOST:PORT --processes=N --process=P"),
        ({}, {"coordinator": HERE, "processes": 2}, "needs --coordinator"),
        ({}, {"processes": 2, "process": 0}, "needs --coordinator"),
        ({}, {"coordinator": HERE, "processes": 2, "process": 2}, "numbered from 0 on"),
        ({}, {"coordinator": HERE, "processes": 0, "process": 0}, "numbered from 0 on"),
        ({}, {"coordinator": "node1", "processes": 2, "process": 0}, "is not HOST:PORT"),
        (OMPI, {}, "add --coordinator=HOST:PORT"),
        ({**STEP, "SLURM_PROCID": ""}, {}, "SLURM_PROCID= in the environment is no whole number"),
        ({"JOB_COMPLETION_INDEX": "x"}, {"processes": 2}, "JOB_COMPLETION_INDEX=x in the"),
    ],
)
def test_what_is_missing_is_said(environment, flags, message):
    with pytest.raises(UserError, match=message):
        find_launch(environment, **flags)
