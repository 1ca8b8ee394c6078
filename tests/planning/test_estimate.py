"""Predicted memory, traffic, arithmetic and time, against figures that are published or counted by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.families import known_names, known_shape, shape_from_config
from launcher.planning.estimate import (
    Setup,
    activation_bytes,
    adapter_parameters,
    estimate_memory,
    estimate_traffic,
    largest_micro_batch,
    total_parameters,
    trainable_parameters,
)
from launcher.planning.hardware import DEVICES, Device, DeviceSpeed, Link, fit_device, fit_link, known_device
from launcher.planning.step_time import Prediction, Work, step_flops

BERT = known_shape("bert-base-uncased")
ROBERTA_LARGE = known_shape("roberta-large")
MODERNBERT = known_shape("answerdotai/ModernBERT-base")
assert BERT is not None
assert ROBERTA_LARGE is not None
assert MODERNBERT is not None

FP32 = Setup(precision="fp32")
LORA = Setup(tuning="lora")


def memory(shape, setup, micro_batch_size=8, max_length=128, **options):
    return estimate_memory(shape, setup, micro_batch_size=micro_batch_size, max_length=max_length, **options)


def test_sixteen_bytes_per_parameter_as_in_the_zero_paper():
    predicted = memory(ROBERTA_LARGE, FP32)
    parts = predicted.weights + predicted.gradients + predicted.optimizer
    assert parts == 16 * total_parameters(ROBERTA_LARGE, FP32)


def test_the_total_is_the_sum_of_what_is_on_the_device():
    p = memory(BERT, Setup(world_size=4, zero_stage=2, offload="cpu"))
    assert p.total == p.weights + p.gradients + p.optimizer + p.activations + p.other
    assert p.host > 0


def test_autocast_keeps_two_byte_copies_of_the_matrices_it_multiplies_with():
    copies = memory(BERT, Setup()).weights - memory(BERT, FP32).weights
    assert copies == 2 * (12 * (4 * 768 * 768 + 2 * 768 * 3072) + BERT.classifier_parameters(2))


def test_lora_of_rank_8_on_query_and_value_trains_a_third_of_a_percent_of_roberta_base():
    """Hu et al. 2021, table 2: 0.3M trainable parameters for RoBERTa-base, without the head."""
    roberta = known_shape("roberta-base")
    assert roberta is not None
    assert adapter_parameters(roberta, LORA) == 12 * 2 * 8 * (768 + 768) == 294_912
    assert trainable_parameters(roberta, replace(LORA, head_parameters=0)) == 294_912


def test_lora_targets_may_have_several_widths():
    setup = replace(LORA, lora_r=4, lora_targets=("dense",))
    assert adapter_parameters(BERT, setup) == 12 * 4 * (768 + 768 + 2 * (768 + 3072))


def test_lora_needs_less_of_everything_but_weights():
    """peft keeps a copy of the head as it was, and of embeddings that train."""
    full, lora = memory(BERT, Setup()), memory(BERT, LORA)
    head = BERT.classifier_parameters(2)
    assert lora.weights - full.weights == 4 * (adapter_parameters(BERT, LORA) + head)
    embeddings = memory(BERT, replace(LORA, train_embeddings=True))
    assert embeddings.weights - lora.weights == 4 * BERT.vocab * BERT.embedding_size
    assert lora.gradients < full.gradients / 50
    assert lora.optimizer < full.optimizer / 50
    assert lora.activations < full.activations


def test_each_zero_stage_divides_one_thing_more():
    trained = total_parameters(BERT, FP32)
    share = -(-trained // 4)
    stages = [memory(BERT, replace(FP32, world_size=4, zero_stage=stage)) for stage in range(4)]
    assert [p.gradients for p in stages] == [4 * trained, 4 * trained, 4 * share, 4 * share]
    # In stages 1 and 2 DeepSpeed clones the fp32 partition, hence 12 bytes and not 8.
    assert [p.optimizer for p in stages] == [8 * trained, 12 * share, 12 * share, 8 * share]
    assert [p.weights for p in stages[:3]] == [4 * trained] * 3
    assert stages[3].weights == 4 * share + 4 * BERT.embedding_parameters


@pytest.mark.parametrize(("stage", "offload"), [(1, "cpu"), (2, "cpu"), (3, "cpu"), (3, "nvme")])
def test_offloading_moves_the_optimizer_off_the_device(stage, offload):
    kept = memory(ROBERTA_LARGE, Setup(world_size=8, zero_stage=stage))
    moved = memory(ROBERTA_LARGE, Setup(world_size=8, zero_stage=stage, offload=offload))
    assert moved.optimizer == 0
    assert moved.total < kept.total
    assert moved.host > 0
    assert (moved.disk > 0) == (offload == "nvme")


def test_a_bert_layer_keeps_what_the_docstring_says():
    one, two = replace(BERT, layers=1), replace(BERT, layers=2)

    def layer(setup):
        sizes = {"tokens": 512, "length": 128}
        return (activation_bytes(two, setup, **sizes) - activation_bytes(one, setup, **sizes)) / 512

    assert layer(Setup(precision="bf16")) == 26 * 768 + 4 * 3072
    assert layer(Setup(precision="fp32")) == 34 * 768 + 8 * 3072
    assert layer(Setup(gradient_checkpointing=True)) == 4 * 768


def test_only_eager_attention_grows_with_the_square_of_the_length():
    def per_token(attention, length):
        return activation_bytes(BERT, Setup(attention=attention), tokens=8192, length=length)

    assert per_token("flash", 512) == per_token("flash", 128)
    scores = per_token("eager", 512) - per_token("flash", 512)
    assert scores == 4 * (per_token("eager", 128) - per_token("flash", 128)) > 0


def test_the_largest_micro_batch_fits_and_one_more_does_not():
    capacity = 16 * 2**30
    fits = largest_micro_batch(ROBERTA_LARGE, Setup(), capacity=capacity, max_length=512, cap=256)
    assert 0 < fits < 256
    assert memory(ROBERTA_LARGE, Setup(), fits, 512).total <= capacity
    assert memory(ROBERTA_LARGE, Setup(), fits + 1, 512).total > capacity


def test_the_largest_micro_batch_is_bounded_on_both_sides():
    assert largest_micro_batch(BERT, Setup(), capacity=80 * 10**9, max_length=64, cap=32) == 32
    assert largest_micro_batch(ROBERTA_LARGE, Setup(), capacity=4 * 10**9, max_length=64, cap=32) == 0


def test_a_limit_on_tokens_bounds_the_activations():
    assert memory(BERT, Setup(), 64, 512, max_tokens=4096) == memory(BERT, Setup(), 8, 512)


def test_a_text_longer_than_the_limit_on_tokens_is_counted_whole():
    assert memory(BERT, Setup(), 64, 8192, max_tokens=4096) == memory(BERT, Setup(), 1, 8192)


@given(
    name=st.sampled_from(known_names()),
    tuning=st.sampled_from(["full", "lora"]),
    precision=st.sampled_from(["bf16", "fp16", "fp32"]),
    stage=st.integers(0, 3),
    world_size=st.integers(1, 1024),
    checkpointing=st.booleans(),
)
def test_more_ranks_and_smaller_micro_batches_never_need_more(
    name, tuning, precision, stage, world_size, checkpointing
):
    shape = known_shape(name)
    setup = Setup(tuning=tuning, precision=precision, zero_stage=stage, gradient_checkpointing=checkpointing)
    few, many = replace(setup, world_size=world_size + 1), replace(setup, world_size=2 * world_size + 2)
    assert memory(shape, many).total <= memory(shape, few).total
    assert memory(shape, few, 4).total <= memory(shape, few, 8).total  # an evaluation may need more than both
    assert memory(shape, few, 256).total < memory(shape, few, 512).total


def test_bytes_sent_follow_the_zero_paper():
    """Section 7: ZeRO 1 and 2 send what a ring all-reduce sends, ZeRO 3 half as much again."""
    gradients = 4 * total_parameters(BERT, FP32)
    sent = [
        estimate_traffic(BERT, replace(FP32, world_size=4, zero_stage=stage)).bytes_per_step
        for stage in range(4)
    ]
    assert sent == [2 * gradients * 3 // 4] * 3 + [3 * gradients * 3 // 4]


def test_one_rank_sends_nothing():
    traffic = estimate_traffic(BERT, FP32)
    assert (traffic.bytes_per_step, traffic.hops) == (0, 0)


def test_accumulation_costs_traffic_only_from_zero_2_on():
    def sent(stage, micro_batches):
        setup = Setup(world_size=8, zero_stage=stage)
        return estimate_traffic(BERT, setup, micro_batches=micro_batches).bytes_per_step

    assert sent(0, 4) == sent(0, 1)
    assert sent(1, 4) == sent(1, 1)
    assert sent(2, 4) == pytest.approx(sent(2, 1) * 5 / 2, abs=8)
    assert sent(3, 4) == pytest.approx(sent(3, 1) * 4, abs=8)


def test_lora_sends_adapters_and_head_but_zero_3_still_gathers_the_frozen_weights():
    plain = estimate_traffic(BERT, replace(LORA, world_size=2))
    assert plain.bytes_per_step == 4 * plain.trainable_parameters
    sharded = estimate_traffic(BERT, replace(LORA, world_size=2, zero_stage=3))
    assert sharded.bytes_per_step > 4 * BERT.body_parameters


def test_six_operations_per_weight_and_token_and_four_under_lora():
    def flops(setup):
        return step_flops(BERT, setup, tokens=1000, mean_length=0)

    assert flops(Setup()) == 6 * BERT.linear_weights * 1000
    adapters = 6 * adapter_parameters(BERT, LORA) * 1000
    assert flops(LORA) == 4 * BERT.linear_weights * 1000 + adapters
    assert flops(Setup(gradient_checkpointing=True)) == pytest.approx(flops(Setup()) * 4 / 3)


def test_attention_costs_twelve_times_hidden_and_length_per_layer_and_token():
    longer = step_flops(BERT, Setup(), tokens=1, mean_length=512)
    assert longer - step_flops(BERT, Setup(), tokens=1, mean_length=0) == 12 * 12 * 768 * 512


def test_modernberts_local_layers_stop_at_their_window():
    def attention(length):
        nothing = step_flops(MODERNBERT, Setup(), tokens=1, mean_length=0)
        return (step_flops(MODERNBERT, Setup(), tokens=1, mean_length=length) - nothing) / (12 * 768)

    assert attention(100) == pytest.approx(22 * 100)
    assert attention(8192) == pytest.approx(8 * 8192 + 14 * 128)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100-PCIE"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("Tesla T4", "T4"),
        ("l40s", "L40S"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA A800-SXM4-80GB", "A800"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA RTX A6000", "A6000"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("rtx_3090", "RTX-3090"),
        ("cpu", "CPU"),
    ],
)
def test_a_device_is_known_by_the_name_that_its_driver_gives(name, key):
    assert known_device(name) is DEVICES[key]


def test_an_unknown_device_is_none():
    for name in (
        "Radeon VII",
        "T400",
        "NVIDIA RTX A1000",
        "A100-1g.5gb",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 3080",
    ):
        assert known_device(name) is None


def test_a_device_computes_at_the_achievable_share_of_its_peak():
    device = Device(80, half_flops=100.0, fp32_flops=10.0, achievable=0.5)
    assert DeviceSpeed.of(device, "bf16").flops_per_s == 50
    assert DeviceSpeed.of(device, "fp32", units=4).flops_per_s == 20


CPU_STEPS_MS = {
    ("sentence-transformers/all-MiniLM-L6-v2", 32): {"fp32": 480, "bf16": 250},
    ("4x256", 128): {"fp32": 411, "bf16": 275},
    ("6x384", 128): {"fp32": 1306, "bf16": 821},
}
"""(model, sentences of 13.8 tokens) -> milliseconds of a step on one core of an EPYC, by its processor time."""


@pytest.mark.parametrize(("name", "examples"), CPU_STEPS_MS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_cpu_bf16_shortens_products_and_nothing_else(name, examples, precision):
    shape = known_shape(name) or scratch_shape(*map(int, name.split("x")))
    work = Work(examples, round(13.8 * examples), 16, examples)
    setup = Setup(precision=precision, device="cpu", attention="eager")
    step = Prediction(shape, setup, work, DeviceSpeed.of(DEVICES["CPU"], precision), SLOW_LINK).step(1)
    assert 1e3 * step.total_s == pytest.approx(CPU_STEPS_MS[name, examples][precision], rel=0.2)


def scratch_shape(layers, width):
    """A BERT made anew from few words."""
    entries = {
        "model_type": "bert", "num_hidden_layers": layers, "hidden_size": width, "vocab_size": 4096,
        "num_attention_heads": width // 32, "intermediate_size": 4 * width,
    }  # fmt: skip
    return shape_from_config(entries, "config.json")


SLOW_LINK = Link(latency_s=20e-6, bytes_per_s=1e9)
SHORT = Work(examples=32, tokens=32 * 13, mean_length=16, micro_batch_size=32)
LONG = Work(examples=4096, tokens=4096 * 400, mean_length=450, micro_batch_size=32)


def prediction(work=LONG, link=SLOW_LINK, setup=Setup(), **options):  # noqa: B008 - frozen
    return Prediction(BERT, setup, work, DeviceSpeed(400e12), link, **options)


def test_one_node_with_one_rank_only_computes():
    step = prediction().step(1)
    assert step.exchange_s == 0
    flops = step_flops(BERT, Setup(), tokens=LONG.tokens, mean_length=LONG.mean_length)
    assert step.total_s == pytest.approx(flops / 400e12)
    assert step.examples_per_s == pytest.approx(4096 / step.total_s)


def test_adding_nodes_pays_longer_for_large_batches_fast_links_and_lora():
    short, long = prediction(SHORT).stops_paying(), prediction(LONG).stops_paying()
    assert short == 2
    assert long is not None
    assert long > 2
    faster = prediction(LONG, Link(5e-6, 50e9)).stops_paying()
    assert faster is None or faster > long
    lora = prediction(LONG, setup=LORA).stops_paying()
    assert lora is None or lora > long


def test_the_node_count_at_which_nodes_stop_paying_is_the_first_under_half():
    predicted = prediction()
    nodes = predicted.stops_paying()
    assert nodes is not None
    assert predicted.efficiency(nodes) < 0.5 <= predicted.efficiency(nodes - 1)


def test_one_node_exchanges_over_its_own_links():
    inside = Link(1e-6, 400e9)
    on_one_node = prediction(gpus=8, inside=inside)
    assert on_one_node.step(1).exchange_s < prediction(gpus=8).step(1).exchange_s / 100
    assert on_one_node.step(2) == prediction(gpus=8).step(2)


def test_nodes_always_pay_where_communication_is_free():
    free = Link(0.0, float("inf"))
    assert prediction(link=free).stops_paying() is None


def test_more_ranks_than_examples_do_not_help():
    free = Link(0.0, float("inf"))
    assert prediction(SHORT, free).step(64).total_s == prediction(SHORT, free).step(32).total_s


def test_a_backward_pass_hides_communication():
    shown, hidden = prediction().step(4), prediction(overlap=1.0).step(4)
    assert hidden.exchange_s == pytest.approx(max(0.0, shown.exchange_s - shown.compute_s * 2 / 3))


def test_a_short_batch_on_a_gpu_takes_the_time_to_launch_its_kernels():
    """20 to 30 ms for a 12-layer encoder, whatever its arithmetic."""
    h200 = known_device("H200")
    assert h200 is not None
    speed = DeviceSpeed.of(h200, "bf16")
    step = Prediction(BERT, Setup(), SHORT, speed, SLOW_LINK).step(1)
    assert 0.020 <= step.total_s <= 0.030


def test_measured_steps_give_back_the_speed_they_were_made_with():
    fitted = fit_device([(flops, flops / 3e11 + 0.02) for flops in (1e10, 5e10, 2e11)])
    assert fitted.flops_per_s == pytest.approx(3e11)
    assert fitted.fixed_s == pytest.approx(0.02)


def test_measured_exchanges_give_back_the_link_they_were_made_with():
    points = [(hops, sent, hops * 1e-4 + sent / 2e9) for hops, sent in ((2, 10**8), (4, 10**8), (4, 10**7))]
    fitted = fit_link(points)
    assert fitted.latency_s == pytest.approx(1e-4)
    assert fitted.bytes_per_s == pytest.approx(2e9)


def test_a_fit_never_gives_a_negative_latency():
    fitted = fit_link([(2, 10**6, 0.002), (4, 10**6, 0.001), (4, 10**8, 0.1)])
    assert fitted.latency_s >= 0
    assert fitted.bytes_per_s > 0
