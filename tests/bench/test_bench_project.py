"""The projection: model beside simulation on small plans, a quick run, its record, its arguments."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paralift as pl
from paralift.bench import clean, project
from paralift.bench.projection import blocks, points
from paralift.bench.simulation import Link, simulate
from paralift.cli import main
from paralift.parallel.cost import BlockCost, Line, count
from paralift.parallel.plan import Plan
from paralift.parallel.predict import predict

COST = BlockCost(Line(0.0, 1e-5), Line(0.0, 1.5e-5), Line(1e-5, 1e-5), 1e-4, 2e-5)
TOLERANCE = 0.01
"""Of model and simulation where messages are short beside the work between them."""


@pytest.fixture(autouse=True)
def clean_here(monkeypatch):
    monkeypatch.setenv(clean.MARK, "{}")


def setting(**more):
    link = more.pop("link", Link(2e-6, 25e9, 1e-6))
    return points.Setting(64, 2, 32, 4, 4, COST, 1e-5, 1e-6, link, **more)


@st.composite
def plans(draw):
    widths = draw(st.lists(st.integers(40, 200), min_size=3, max_size=9))
    layers = [part for a, b in zip(widths[:-2], widths[1:-1], strict=True) for part in (pl.Linear(a, b), pl.ReLU())]
    net = pl.Sequential(*layers, pl.Linear(*widths[-2:]))
    n = len(net.blocks)
    stages = draw(st.integers(1, n))
    inner = draw(st.permutations(range(1, n)))[: stages - 1]
    shards, m = draw(st.integers(1, 3)), 2 * draw(st.integers(max(1, stages - 1), 10))
    plan = Plan(shards, stages, (0, *sorted(inner), n), m, draw(st.sampled_from(["unflushed", "flush"])))
    return net, plan, shards * m * draw(st.integers(16, 64))


@settings(max_examples=40, deadline=None)
@given(plans())
def test_model_and_simulation_agree_on_small_plans(case):
    net, plan, batch_size = case
    link = Link(1e-7, 1e12)
    costs = blocks.costs(COST, len(net.blocks), link.latency, link.bandwidth, 0.0, 0.0, 0.0)
    costs = type(costs)(count(net).blocks, *list(vars(costs).values())[1:])
    pipeline = points.pipeline_of(net, plan, batch_size, costs, link)
    found = plan.micro_batches // plan.parts * simulate(pipeline, warm_up=6, batches=3).seconds
    model = predict(net, plan, batch_size, costs).seconds
    if plan.schedule == "unflushed":
        assert model == pytest.approx(found, rel=TOLERANCE, abs=4 * link.latency)
    else:  # the model waits for the last stage's update before the first stage goes on, which nobody does
        ends = max(g + u for g, u in zip(pipeline.gradient, pipeline.update, strict=True))
        assert found * (1 - TOLERANCE) <= model <= found * (1 + TOLERANCE) + ends


@pytest.mark.parametrize("schedule", ["unflushed", "flush"])
@pytest.mark.parametrize(("kind", "grid"), [("layers", (1, 8)), ("data", (8, 1)), ("both", (2, 4))])
def test_a_point(kind, grid, schedule):
    point = points.project(setting(), kind, 8, schedule)
    assert (point["shards"], point["stages"]) == grid
    m = max(4, (4 if grid[0] == 1 else 6) * (grid[1] - 1))
    assert (point["micro_batches"], point["batch_size"]) == (m, grid[0] * m * 32)
    for key in ("simulation", "simulation_with_jitter"):
        judged = point[key]
        assert judged["efficiency"] == pytest.approx(point["seconds_alone"] / judged["seconds"])
        assert judged["efficiency"] + sum(judged["losses"].values()) == pytest.approx(1.0)
    assert point["model"]["efficiency"] < 1.0
    assert point["model"]["seconds"] >= point["model"]["slowest"] > point["seconds_alone"] * (1 - 1e-9)


def test_one_rank_loses_nothing_and_a_flush_loses_the_bubble():
    one = points.project(setting(jitter=0.0), "layers", 1, "flush")
    assert one["model"]["efficiency"] == one["simulation"]["efficiency"] == pytest.approx(1.0)
    assert points.largest_loss(one["simulation"]) == ""
    flush = points.project(setting(jitter=0.0), "layers", 8, "flush")["simulation"]
    assert flush["losses"]["waiting for others"] > 0.15, "7 of 28 + 7 turns"
    assert points.largest_loss(flush).startswith("waiting for others")
    assert points.project(setting(jitter=0.0), "layers", 8, "unflushed")["simulation"]["losses"]["waiting for others"] < 0.05


@pytest.mark.parametrize("micro_batches", [14, 26, 28, 40])
def test_a_lead_of_two_hides_messages_in_model_and_simulation(micro_batches):
    slow, net = Link(2e-4, 25e9), blocks.network(64, 16)
    plan, batch_size = Plan(1, 8, tuple(range(0, 17, 2)), micro_batches), 32 * micro_batches
    assert plan.lead == (2 if micro_batches >= 28 else 1)
    costs = setting(link=slow).costs(16)
    found = 2 * simulate(points.pipeline_of(net, plan, batch_size, costs, slow), warm_up=6, batches=3).seconds
    model = predict(net, plan, batch_size, costs)
    assert model.seconds == pytest.approx(found, rel=TOLERANCE)
    assert (model.exchange > 1e-4 * micro_batches) == (plan.lead == 1)


def test_ranks_that_do_not_fill_a_shard_are_refused():
    with pytest.raises(ValueError, match="6 ranks in 4 stages"):
        setting().grid("both", 6)


def test_a_measured_block_is_that_of_a_middle_stage():
    found = blocks.measure_block(48, 2, 8, 3)
    assert all(len(t.seconds) == 3 and t.minimum > 0 for t in found.times.values())
    assert found.cost.forward(8) == pytest.approx(found.times["forward"].median)
    assert found.cost.gradient(8 * blocks.LARGE) >= found.times["gradient, large"].median * (1 - 1e-9)
    half = blocks.scaled(found.cost, 0.5)
    assert half.back(8) == 0.5 * found.cost.back(8) and half.update == 0.5 * found.cost.update
    assert len(blocks.network(48, 5).blocks) == 5


def test_a_quick_run(tmp_path, capsys):
    assert project.main(["--quick", "--out", str(tmp_path), "--flops", "1e12", "--plot", str(tmp_path / "more" / "a.png")]) == 0
    found = json.loads((tmp_path / "project.json").read_text())
    assert "projection" in found["is"] and found["block_flops"] == 1e12
    assert found["options"]["bandwidth"] == 25e9 and found["options"]["latency"] == 2e-6
    assert {"forward", "back", "gradient", "update_s", "step_s", "turn_s", "times"} <= set(found["block"])
    assert len(found["points"]) == 3 * 2 * 4
    for point in found["points"]:
        assert {"ranks", "shards", "stages", "micro_batches", "seconds_alone", "model_below_simulation_percent"} <= set(point)
        for share in ("busy", "bubble", "overhead", "exposed_communication", "exposed_sum"):
            assert set(point["simulation"][share]) == {"mean", "min", "max"}
    assert np.isfinite([p["model"]["seconds"] for p in found["points"]]).all()
    for path in (tmp_path / "project.png", tmp_path / "more" / "a.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert "projection" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--help"], 0), (["--nothing"], 2), (["--ranks", "0"], 2), (["--bandwidth", "-1"], 2), (["--latency", "nan"], 2),
        (["--kinds", "rows"], 2), (["--jitter", "2"], 2), (["--flops", "fast"], 2), (["--flops", "0"], 2),
        (["--lead", "1.5"], 2),
    ],
)  # fmt: skip
def test_help_and_wrong_arguments(argv, code, capsys):
    assert project.main(argv) == code
    assert main(["bench", "project", *argv]) == code
    said = capsys.readouterr()
    assert ("PROJECTION" in said.out.upper()) if code == 0 else ("was given" in said.err or "error" in said.err)
