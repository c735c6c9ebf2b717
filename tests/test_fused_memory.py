"""What fused products need beside a program's buffers, on CPUs: written programs, with numbers worked out by hand."""

import textwrap

from jtransfer.dry_run import fused, hlo

KIND = 'backend_config={"fusion_config":{"kind":"__ynn_fusion"}}'
MLP = textwrap.dedent("""\
    HloModule jit_f, is_scheduled=true

    %mlp (x: f32[10,8], a: f32[8,32], b: f32[32,8]) -> f32[10,8] {
      %x = f32[10,8]{1,0} parameter(0)
      %a = f32[8,32]{1,0} parameter(1)
      %b = f32[32,8]{1,0} parameter(2)
      %hidden = f32[10,32]{1,0} dot(%x, %a), lhs_contracting_dims={1}, rhs_contracting_dims={0}
      %rows = f32[2,5,32]{2,1,0} bitcast(%hidden)
      %gelu = f32[2,5,32]{2,1,0} tanh(%rows)
      %flat = f32[10,32]{1,0} bitcast(%gelu)
      %out = f32[10,8]{1,0} dot(%flat, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
      ROOT %more = f32[10,8]{1,0} add(%out, %x)
    }

    ENTRY %main (x: f32[10,8], a: f32[8,32], b: f32[32,8]) -> f32[10,8] {
      %x = f32[10,8]{1,0} parameter(0)
      %a = f32[8,32]{1,0} parameter(1)
      %b = f32[32,8]{1,0} parameter(2)
      %early = f32[10,8]{1,0} fusion(%x, %a, %b), kind=kCustom, calls=%mlp, KIND
      %wide = f32[1000]{0} broadcast(%early), dimensions={}
      %small = f32[10,8]{1,0} slice(%wide), slice={[0:10]}
      ROOT %late = f32[10,8]{1,0} fusion(%small, %a, %b), kind=kCustom, calls=%mlp, KIND
    }
    """).replace("KIND", KIND)


def test_a_fusion_keeps_the_operands_and_results_of_products():
    # hidden and gelu, of 10 · 32 numbers each; then gelu and out
    late = 4 * (320 + 320)
    small = 4 * 80
    assert fused.more_than(MLP, small) == late


def test_a_fusion_that_runs_before_the_memory_is_in_use_does_not_add_to_it():
    wide, small = 4 * 1000, 4 * 80
    temporaries = wide + small
    # after the broadcast all temporaries have been written to, and the last fusion comes on top of them
    assert fused.more_than(MLP, temporaries) == 4 * 640
    early = MLP.replace("ROOT %late = f32[10,8]{1,0} fusion(%small, %a, %b), kind=kCustom, calls=%mlp, " + KIND, "")
    early = early.replace("%small = f32", "ROOT %small = f32")
    assert fused.more_than(early, 4 * 1080) == 0  # 4 · (80 + 640) while it runs, and 4 · 1080 afterwards


def test_a_convolution_takes_its_padded_input_and_its_result_once_more():
    text = textwrap.dedent("""\
        %conv (x: f32[2,6,6,3], k: f32[3,3,3,8]) -> f32[2,6,6,8] {
          %x = f32[2,6,6,3]{3,2,1,0} parameter(0)
          %k = f32[3,3,3,8]{3,2,1,0} parameter(1)
          ROOT %y = f32[2,6,6,8]{3,2,1,0} convolution(%x, %k), window={size=3x3 pad=1_1x2_0}, dim_labels=b01f_01io->b01f
        }

        ENTRY %main (x: f32[2,6,6,3], k: f32[3,3,3,8]) -> f32[2,6,6,8] {
          %x = f32[2,6,6,3]{3,2,1,0} parameter(0)
          %k = f32[3,3,3,8]{3,2,1,0} parameter(1)
          ROOT %y = f32[2,6,6,8]{3,2,1,0} fusion(%x, %k), kind=kCustom, calls=%conv, KIND
        }
        """).replace("KIND", KIND)
    assert fused.more_than(text, 0) == 4 * 2 * 8 * 8 * 3 + 4 * 2 * 6 * 6 * 8


def test_other_programs_need_no_more():
    assert fused.more_than(MLP.replace("__ynn_fusion", "__other"), 0) == 0
    assert fused.more_than("", 0) == 0


def test_lines_are_taken_apart():
    (line,) = hlo.Computation(
        True, ["  ROOT %t.1 = (f32[2,3]{1,0}, /*index=1*/pred[]) tuple(%a, f32[] %b.2), x={1}"]
    ).instructions()
    assert (line.name, line.op, line.operands, line.is_root, line.bytes) == ("t.1", "tuple", ("a", "b.2"), True, 25)
