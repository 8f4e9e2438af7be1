"""Work of programs that are counted by hand; the texts have the forms that XLA writes."""

import pytest

from scripts.compiled_program import work_of

# A loop of 3 multiplies [2, 4] by [4, 5] in a fusion; the entry adds, and sums over devices.
PROGRAM = """HloModule jit_step, is_scheduled=true

%fused (param_0: f32[2,4], param_1: f32[4,5]) -> f32[2,5] {
  %param_0 = f32[2,4]{1,0} parameter(0)
  %param_1 = f32[4,5]{1,0} parameter(1)
  ROOT %dot.1 = f32[2,5]{1,0} dot(%param_0, %param_1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (state: (s32[], f32[2,4], f32[4,5])) -> (s32[], f32[2,4], f32[4,5]) {
  %state = (s32[], f32[2,4]{1,0}, /*index=2*/f32[4,5]{1,0}) parameter(0)
  %left = f32[2,4]{1,0} get-tuple-element(%state), index=1
  %right = f32[4,5]{1,0} get-tuple-element(%state), index=2
  %product = f32[2,5]{1,0} fusion(%left, %right), kind=kOutput, calls=%fused
  ROOT %again = (s32[], f32[2,4]{1,0}, f32[4,5]{1,0}) tuple(%left, %left, %right)
}

%test (state.1: (s32[], f32[2,4], f32[4,5])) -> pred[] {
  %state.1 = (s32[], f32[2,4]{1,0}, f32[4,5]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (a: f32[2,4]) -> f32[2,4] {
  %a = f32[2,4]{1,0} parameter(0)
  %start = (s32[], f32[2,4]{1,0}, f32[4,5]{1,0}) tuple(%a, %a, %a)
  %loop = (s32[], f32[2,4]{1,0}, f32[4,5]{1,0}) while(%start), condition=%test, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %half = bf16[2,4]{1,0} convert(%a)
  COLLECTIVES
  ROOT %sum = f32[2,4]{1,0} add(%a, %half)
}
"""  # noqa: E501

IN_LOOPS = 3 * (2 * 4 + 4 * 5 + 2 * 5) * 4
OUTSIDE = 8 * (4 + 2) + 8 * (4 + 2 + 4)


def program(collectives: str = "") -> str:
    return PROGRAM.replace("COLLECTIVES", collectives)


def test_a_loop_counts_as_often_as_it_runs_and_a_fusion_once():
    work = work_of(program())
    assert work.flops == 3 * 2 * 2 * 5 * 4
    assert work.memory == IN_LOOPS + OUTSIDE
    assert not any(work.network.values())


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("{{0,1,2,3},{4,5,6,7}}", 4),
        ("[2,4]<=[8]", 4),
        ("[4,2]<=[2,4]T(1,0)", 2),
        ("mesh['data'=2,'fsdp'=4] {'fsdp'}", 4),
        ("mesh['data'=2,'fsdp'=4] {'data','fsdp'}", 8),
        ("mesh['a'=2,'b'=1,'c'=4], device_ids=([4,2]<=[8]) {'c'}", 4),
        ("mesh['a'=8] {'a':(2)4}", 4),
    ],
)
@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("all-reduce", lambda n: 2 * (n - 1) / n),
        ("all-gather", lambda n: (n - 1) / n),
        ("reduce-scatter", lambda n: n - 1),
    ],
)
def test_what_a_device_sends_over_a_ring(groups, size, kind, share):
    shape = "(f32[8]{0}, bf16[4]{0})"
    line = f"%moved = {shape} {kind}(%a, %half), channel_id=1, replica_groups={groups}, x=1"
    assert work_of(program(line)).network[kind] == 40 * share(size)


def test_a_permutation_sends_all_of_its_array():
    line = (
        "%moved = f32[8]{0} collective-permute(%a), channel_id=1, "
        "source_target_pairs={{0,1},{1,2},{2,3},{3,0}}"
    )
    assert work_of(program(line)).network["collective-permute"] == 32


STACK = """%update (param_0: f32[8,4], param_1: f32[4], param_2: s32[]) -> f32[8,4] {
  %param_0 = f32[8,4]{1,0} parameter(0)
  %param_1 = f32[4]{0} parameter(1)
  %row = f32[1,4]{1,0} bitcast(%param_1)
  %param_2 = s32[] parameter(2)
  ROOT %new = f32[8,4]{1,0} dynamic-update-slice(%param_0, %row, %param_2)
}

ENTRY %main (a: f32[8,4], b: f32[4], i: s32[]) -> f32[8,4] {
  %a = f32[8,4]{1,0} parameter(0)
  %b = f32[4]{0} parameter(1)
  %i = s32[] parameter(2)
  %one = f32[1,4]{1,0} dynamic-slice(%a, %i), dynamic_slice_sizes={1,4}
  ROOT %stored = f32[8,4]{1,0} fusion(%a, %b, %i), kind=kLoop, calls=%update
}
"""


def test_of_a_stack_only_the_slice_is_moved():
    read, updated = 2 * 16 + 4, 16 + 16 + 4
    assert work_of(STACK).memory == read + updated


def test_a_loop_without_an_end_is_refused():
    text = program().replace("known_trip_count", "unknown")
    with pytest.raises(ValueError, match="loop does not say how often it runs"):
        work_of(text)
