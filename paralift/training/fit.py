"""`fit`: the one driver loop, alone or on any number of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from paralift import optim
from paralift.data.augment import Augmentation
from paralift.kernels.precision import check_precision
from paralift.lifted.initial import Scheme, check_scheme, read_scheme
from paralift.lifted.losses import Loss, default_loss
from paralift.lifted.methods import Method, nudged
from paralift.lifted.network import Network, Params, check_params, float_type
from paralift.parallel.budget import read_bytes
from paralift.parallel.plan import Plan
from paralift.parallel.world import WORLD, find_world
from paralift.training.arguments import (
    allowed_stages,
    array_like,
    as_dataset,
    batch_rows,
    check_method,
    check_shapes,
    expect_counts,
    expect_patience,
)
from paralift.training.attempt import Task, train
from paralift.training.callbacks import check_callbacks
from paralift.training.planning import question_of
from paralift.training.result import Result
from paralift.training.run import DivergedError
from paralift.training.stopping import EarlyStopping
from paralift.training.techniques import Techniques

__all__ = ["DivergedError", "fit"]


def fit(
    network: Network,
    data: Any,
    *,
    method: Method | None = None,
    optimizer: Any = None,
    loss: Loss | None = None,
    augment: Sequence[Augmentation] = (),
    clip: float | None = None,
    freeze: Sequence[str] = (),
    ema: float | None = None,
    stop_early: EarlyStopping | None = None,
    epochs: int = 20,
    batch_size: int | str | None = "auto",
    seed: int = 0,
    init: Scheme = None,
    dtype: Any = "float32",
    shuffle: bool = True,
    test: Any = None,
    params: Params | None = None,
    comm: Any = WORLD,
    plan: Plan | str | None = None,
    stages: int | None = None,
    micro_batches: int | None = None,
    schedule: str | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
    states_memory: int | str | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    checkpoint_every: int = 1,
    checkpoints: int = 2,
    patience: float = 600.0,
    survive: bool = False,
    progress: bool = True,
    callbacks: Sequence[Any] = (),
    device: str = "cpu",
    precision: str = "full",
    config: str | None = None,
) -> Result:
    """Train a network by a lifted method, on one rank or on all ranks of a communicator.

    Parameters
    ----------
    network : Network
    data : Dataset, Source, a pair of arrays (x, y), or PyTorch's Dataset or DataLoader
        x of shape (n, *input_shape); y integer labels (n, ...) or floats of the output's shape. What is taken of PyTorch's:
        `paralift.data.ItemSource`, `paralift.data.loaders`.
    method : Method, optional
        From `paralift.methods`; `nudged()` by default.
    optimizer : update rule, optional
        From `paralift.optim`; ``Adam(1e-3)`` by default. Methods that move the parameters themselves use its
        regulariser only.
    loss : Loss, optional
        From `paralift.losses`; by default the one that belongs to the last activation.
    augment : sequence of Augmentation, optional
        From `paralift.data`: how training samples are changed at random, one after another. This and the next four
        are told in docs/techniques.md.
    clip : float, optional
        Largest norm of the gradient over all parameters; late by one step, so that no rank waits.
    freeze : sequence of str, optional
        Blocks (``"linear1"``) and parameters (``"linear1.bias"``) that stay as they are; ``*`` stands for anything.
    ema : float, optional
        Decay of an average of the parameters, such as 0.999, which then is evaluated and returned instead of them.
    stop_early : EarlyStopping, optional
        When the run ends before its last epoch; the best epoch's parameters are returned.
    epochs : int
    batch_size : int, None or "auto"
        Samples of a batch over all shards; None takes all samples as one batch. By default those of a DataLoader, else 128.
    seed : int
        Of the initial parameters and of the shuffles. Same seed and ranks: same bits.
    init : {"he", "xavier", "orthogonal"}, or mapping of name to one of them, optional
        Of the initial weights, as for ``network.init``.
    dtype : float32 or float64
    shuffle : bool
    test : as `data` but no Dataset of ParaLift, optional
        With `data` a pair or a source, or PyTorch's.
    params : mapping, optional
        Initial parameters instead of ``network.init(seed)``.
    comm : mpi4py.MPI.Comm or None
        Duplicated, never used otherwise. By default the world of the MPI launcher, if one started the process; None
        trains alone.
    plan : Plan, "measured" or "counted", optional
        Who owns what. By default it is chosen by measured costs: a plan by counted ones, the same on every machine, is
        kept unless another is faster by more than 5 %. A resumed run keeps its plan on the same number of ranks.
    stages, micro_batches : int, optional
        Fixed parts of the plan that is chosen. Unflushed, stages need an even number of micro-batches, at least
        2 (stages - 1); with an odd one only plans of one stage are looked at.
    schedule : {"unflushed", "flush"}, optional
        Of sweeps, if the plan is chosen. "unflushed", the default where there are several stages, never empties the pipe
        between batches: the first half of each batch reads a forecast of the parameters. "flush" takes the exact synchronous
        step.
    memory : int or str, optional
        Bytes that a rank may take, or ``"16GiB"``; plans that need more are not chosen.
    threads : int, optional
        BLAS threads of a rank; by default 1 where several ranks share a machine, else what BLAS takes by itself.
    states_memory : int or str, optional
        Bytes a rank (or ``"4GiB"``) that variables which a method keeps of all samples take in memory; larger ones are
        kept in a file in the run folder, or in the system's folder for temporary files. By default half of a rank's
        share of the memory. The results are the same.
    out : path, optional
        Run folder: config.toml, metrics.jsonl, summary.json, checkpoints/, logs/. Rank 0's counts; all ranks must see it.
    resume : "auto" or path, optional
        A checkpoint to go on from; "auto" takes the newest whole one in `out`, if there is one, and names damaged ones.
        Bit for bit on the same ranks, to rounding on others.
    checkpoint_every : int
        Epochs between checkpoints; the last epoch always writes one. SIGUSR1 asks for one at once, SIGUSR2 and SIGTERM ask
        for one and the end of the run; `reason` says so then.
    checkpoints : int
        The newest ones that stay.
    patience : float
        Seconds that a rank waits for another before the job is ended; the wait is named after a tenth of it.
    survive : bool
        Whether the others go on when ranks die, on a plan of their own: from copies in memory that are about a second old
        (sweeps), else from the newest checkpoint, else from the start. Needs an MPI that tells of the dead: Open MPI
        started with ``--with-ft ulfm``, as ``paralift run --ft`` does.
    progress : bool
        Whether rank 0 shows a bar.
    callbacks : sequence of Callback or callable
        Called on rank 0 with each epoch's record, after it was written: `paralift.callbacks`.
    device : {"cpu", "gpu"}
        "gpu" trains with CuPy, on one rank.
    precision : {"full", "tf32", "bf16"}
        To what a GPU rounds the factors of float32 products; their sums, residuals and parameters stay float32.
    config : str, optional
        Text for config.toml.

    Returns
    -------
    Result
        The same on every rank.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong or no plan fits into the memory, on every rank.
    AgreedError
        If a rank cannot read its data or a checkpoint, or has no room for kept variables; every rank raises it and names
        that rank.
    DivergedError
        If the loss or a parameter becomes NaN or infinite; the last checkpoint stays as it is.
    CallbackError
        If a callback raises; on several ranks an AgreedError that names it.
    """
    task, comm = prepare(SimpleNamespace(**locals()))
    return train(task, comm)


def prepare(given: SimpleNamespace) -> tuple[Task, Any]:
    """Return a run and its communicator by the arguments of `fit`, checked; see there."""
    network = given.network
    method = nudged() if given.method is None else given.method
    rule = optim.Adam(1e-3) if given.optimizer is None else given.optimizer
    loss = default_loss(network.blocks[-1].activation) if given.loss is None else given.loss
    loss.check(network.blocks[-1].activation, network.output_shape[-1])
    check_method(network, method, rule)
    threads = 1 if given.threads is None else given.threads
    expect_counts(
        epochs=given.epochs, checkpoint_every=given.checkpoint_every, checkpoints=given.checkpoints, threads=threads
    )
    expect_patience(given.patience)
    if given.states_memory is not None:
        read_bytes(given.states_memory)
    if given.params is not None:
        check_params(network, given.params)
    check_scheme(read_scheme(given.init), [b.name for b in network.blocks])
    comm = find_world() if given.comm is WORLD else given.comm
    ranks = 1 if comm is None else comm.Get_size()
    check_precision(given.precision, given.device, float_type(given.dtype))
    like = array_like(given.dtype, given.device, ranks)
    dataset = as_dataset(given.data, given.test)
    check_shapes(network, dataset, loss)
    wanted = Techniques(given.augment, given.clip, given.freeze, given.ema, given.stop_early)
    techniques = wanted.checked(network, dataset, method)
    n = dataset.train.n_samples
    batch = batch_rows(given.batch_size, given.data, n)
    limit = None if given.memory is None else read_bytes(given.memory)
    allowed_stages(method, given.stages, given.plan)
    fixed = {"stages": given.stages, "micro_batches": given.micro_batches, "schedule": given.schedule, "memory": limit}
    question = question_of(network, ranks, batch, method, rule, float_type(given.dtype).itemsize, **fixed)
    question = replace(question, states=question.states + techniques.flats)
    attributes = {
        "network": network.source, "method": repr(method), "optimizer": repr(rule), "loss": repr(loss),
        "data": dataset.name, "dtype": str(float_type(given.dtype)), "seed": given.seed, "batch_size": batch,
        "shuffle": given.shuffle, **techniques.attributes(),
    }  # fmt: skip
    task = Task(
        network, dataset, method, rule, loss, given.epochs, batch, given.seed, given.shuffle, given.params, like, question,
        given.plan, given.threads, given.states_memory, attributes, given.out, given.resume, given.checkpoint_every,
        given.checkpoints, given.patience, given.survive, given.progress, given.config, techniques, given.init,
        given.precision, check_callbacks(given.callbacks),
    )  # fmt: skip
    return task, comm
