"""Methods: what cannot be combined, and activations that only some methods can use."""

from __future__ import annotations

import numpy as np
import pytest
from problems import problem

import paralift as pl
from paralift.lifted.activations import GELU, NotMonotoneError, Quantizer, SiLU
from paralift.methods import (
    Backpropagation,
    BlockDescent,
    Explicit,
    Hard,
    Implicit,
    Method,
    Nudge,
    ProximalGradient,
    Sweep,
    backprop,
    lifted_bregman,
    lifted_bregman_bcd,
    nudged,
)

PROXGRAD = ProximalGradient(1)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Method(penalty="cubic"), ["'cubic'", "bregman", "quadratic"]),
        (lambda: Method(clamp=Hard(), update=BlockDescent()), ["BlockDescent", "ProximalGradient"]),
        (lambda: Method(clamp=Hard(), inference=Backpropagation(), update=Implicit()), ["Implicit"]),
        (lambda: Method(clamp=Nudge(), inference=PROXGRAD, update=BlockDescent()), ["one E", "one-sided"]),
        (lambda: Method(clamp=Nudge(0.1), inference=PROXGRAD, update=Implicit()), ["one E", "one-sided"]),
        (lambda: Method(clamp=Nudge(relative=0.1), inference=PROXGRAD), ["relative"]),
        (lambda: Method("quadratic", Hard(), ProximalGradient(1, geometry="dual")), ["quadratic", "dual"]),
        (lambda: Nudge(0.0), ["beta is 0.0"]),
        (lambda: Nudge(-1.0), ["beta is -1.0"]),
        (lambda: Nudge(float("nan")), ["beta is nan"]),
        (lambda: Nudge(relative=0.0), ["relative"]),
        (lambda: Nudge(0.5, relative=0.1), ["relative"]),
        (lambda: Nudge(symmetric=False, relative=0.1), ["symmetric"]),
        (lambda: Implicit(0.0), ["tau"]),
        (lambda: Implicit(1.0, 0), ["at least one step"]),
        (lambda: BlockDescent("momentum"), ["'momentum'", "nesterov", "heavy_ball"]),
        (lambda: BlockDescent("nesterov", 1.0), ["momentum is 1.0"]),
        (lambda: lifted_bregman_bcd("fast"), ["'fast'"]),
        (lambda: lifted_bregman(tau=-1.0), ["tau"]),
    ],
)
def test_combinations_that_cannot_be(build, words):
    with pytest.raises(ValueError) as error:
        build()
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    "arguments", [{"clamp": "hard"}, {"inference": "sweep"}, {"update": "explicit"}, {"states": pl.optim.L1(0.1)}]
)
def test_parts_of_the_wrong_type(arguments):
    with pytest.raises(TypeError, match=next(iter(arguments))):
        Method(**arguments)


def test_named_methods_are_points_of_the_table():
    assert nudged() == Method() == Method("bregman", Nudge(relative=0.01), Sweep(), Explicit())
    assert nudged(beta=1.0).clamp == Nudge(1.0) and nudged(symmetric=False).clamp == Nudge(0.1, False)
    assert nudged(0.1, False).clamp == Nudge(0.1, False) and nudged(relative=0.01).clamp == Nudge(relative=0.01)
    assert lifted_bregman(0.5, 2, 4, "jacobi", "dual") == Method(
        "bregman", Hard(), ProximalGradient(4, "jacobi", "dual"), Implicit(0.5, 2)
    )
    descent = lifted_bregman_bcd("heavy_ball", 0.5)
    assert descent.update == BlockDescent("heavy_ball", 0.5) and descent.inference.persistent
    assert lifted_bregman_bcd("adam").update == Explicit()
    assert backprop().inference == Backpropagation()


def test_clamps_of_both_kinds():
    assert Hard().phases == ((1.0, 1.0),) and Hard().displacement == (0.0, 1.0, 0.0)
    assert Nudge(0.5).phases == ((2.0, 0.25), (-2.0, -0.25)) and Nudge(0.5).displacement == (0.5, 0.5, 0.0)
    assert Nudge(0.5, False).phases == ((2.0, 0.5),) and Nudge(0.5, False).displacement == (0.0, 1.0, 0.0)
    assert Nudge(relative=0.1).displacement == (0.5, 0.5, 0.1)


@pytest.mark.parametrize("method", [nudged(0.3), lifted_bregman(), lifted_bregman_bcd("nesterov"), backprop()])
def test_repr_builds_the_same_method(method):
    names = {**vars(pl.methods), **vars(pl.optim)}
    assert eval(repr(method), names) == method
    regularised = nudged(states={"linear1": pl.optim.L1(0.1)})
    assert eval(repr(regularised), names) == regularised


# Activations that are no proximal maps of a convex Psi


def network(activation):
    return pl.Sequential(pl.Linear(4, 6), activation, pl.Linear(6, 3), pl.Softmax())


@pytest.mark.parametrize("activation", [GELU(), SiLU()], ids=repr)
def test_nonmonotone_activations_work_where_sigma_is_enough(activation):
    p = problem(network(activation), n=7)
    _, expected = pl.value_and_grad(p.network, backprop())(p.params, p.x, p.y)
    _, found = pl.value_and_grad(p.network, nudged(1e-3))(p.params, p.x, p.y)
    for block, arrays in expected.items():
        for name, g in arrays.items():
            np.testing.assert_allclose(found[block][name], g, atol=1e-6)


@pytest.mark.parametrize("activation", [GELU(), SiLU()], ids=repr)
@pytest.mark.parametrize("geometry", ["euclidean", "dual"])
def test_nonmonotone_activations_are_refused_where_a_penalty_is_needed(activation, geometry):
    p = problem(network(activation), n=7)
    method = Method(clamp=Hard(), inference=ProximalGradient(1, geometry=geometry))
    with pytest.raises(NotMonotoneError, match=type(activation).__name__):
        pl.value_and_grad(p.network, method)(p.params, p.x, p.y)
    with pytest.raises(NotMonotoneError, match="monotone"):
        pl.infer(p.network, p.params, {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y)})


def test_quadratic_penalty_takes_any_activation():
    p = problem(network(GELU()), n=7)
    found = pl.infer(
        p.network, p.params, {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y)}, ProximalGradient(50),
        penalty="quadratic",
    )  # fmt: skip
    assert found.energy[-1] < found.energy[0]


def test_the_quantizer_trains_by_differences():
    p = problem(network(Quantizer(4)), n=64)
    _, grads = pl.value_and_grad(p.network, nudged(8.0))(p.params, p.x, p.y)
    assert all(np.isfinite(g).all() for d in grads.values() for g in d.values()) and grads["linear1"]["weight"].any()


@pytest.mark.parametrize("method", [backprop(), nudged(penalty="quadratic")], ids=["backprop", "quadratic"])
def test_the_quantizer_has_no_derivative(method):
    p = problem(network(Quantizer(4)), n=7)
    with pytest.raises(TypeError, match="Quantizer has no derivative"):
        pl.value_and_grad(p.network, method)(p.params, p.x, p.y)


def test_the_quantizer_is_refused_where_a_step_length_is_needed():
    """sigma is not continuous: no step of proximal gradient iterations below it is short enough."""
    deep = pl.Sequential(pl.Linear(4, 6), pl.Tanh(), pl.Linear(6, 6), Quantizer(4), pl.Linear(6, 3), pl.Softmax())
    p = problem(deep, n=7)
    with pytest.raises((TypeError, ValueError), match="Quantizer"):
        pl.value_and_grad(deep, Method(clamp=Hard(), inference=ProximalGradient(1)))(p.params, p.x, p.y)
