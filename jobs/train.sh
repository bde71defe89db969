# What the job scripts of this folder share; they source it:  train CONFIG RUN [OPTIONS OF paralift train]
#
# Starts the ranks of a SLURM job in one run folder, goes on where an earlier start stopped, and ends as SLURM wants it:
#   SIGUSR1 to the batch shell (the time limit is near): checkpoint, stop with exit code 75, back to the queue
#   SIGTERM (scancel, preemption, the time limit itself): checkpoint and stop; SLURM decides what becomes of the job
# The job's exit code is that of the run.
#
# PYTHON    the interpreter, instead of .venv/bin/python
# MPIRUN    the launcher, instead of the mpirun beside the interpreter, or on PATH where there is none
# LAUNCHER  srun, to start the ranks by srun instead; SLURM_MPI_TYPE says how they find each other (pmix, pmi2)
# WRAPPER   a command that starts each rank, such as jobs/own-gpu.sh

STOPPED=75 # paralift/exits.py
KILLED=140 # 128 + SIGUSR2: it came while the run started or ended, when nobody listened

python=${PYTHON:-.venv/bin/python}
ranks=${SLURM_NTASKS:-1}
stop=USR2 # what a launcher hands on to its ranks as the wish for a checkpoint and the end
mpirun=
if [ "$LAUNCHER" = srun ]; then
    # Without --kill-on-bad-exit the others would wait for a rank that died. SLURM does not hand --cpus-per-task on to srun.
    start=(srun --ntasks="$ranks" --kill-on-bad-exit=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK})
else
    mpirun=${MPIRUN:-$(dirname "$python")/mpirun}
    [ -x "$mpirun" ] || mpirun=$(command -v mpirun) || { echo "no mpirun beside $python nor on PATH: set MPIRUN" >&2; exit 2; }
    # --bind-to none: SLURM has chosen the cores already, and mpirun refuses to bind where it sees fewer than ranks.
    start=("$mpirun" -n "$ranks" --bind-to none)
    case $("$mpirun" --version 2>&1) in *HYDRA* | *"Intel(R) MPI"*) stop=TERM ;; esac # paralift/launchers.py: it dies of SIGUSR2
fi

# The Open MPI of the Python package index has no UCX. Another MPI, or another transport: set these before sbatch.
export OMPI_MCA_pml=${OMPI_MCA_pml-ob1} OMPI_MCA_osc=${OMPI_MCA_osc-^ucx}
if [ "${SLURM_JOB_NUM_NODES:-1}" = 1 ]; then
    export OMPI_MCA_btl=${OMPI_MCA_btl-self,sm} # shared memory: ranks start ten times faster
fi
if [ "$(id -u)" = 0 ]; then # containers
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# The launcher, and its daemons on other nodes, must not kill the ranks at SIGTERM.
deaf=("$python" "$PWD/jobs/deaf.py")
if [ "$stop" = TERM ]; then
    deaf=() # Hydra hands SIGTERM on, and outlives it
elif [ -n "$mpirun" ] && [ -x "$(dirname "$mpirun")/prted" ]; then
    export PRTE_MCA_prte_launch_agent=${PRTE_MCA_prte_launch_agent-$(realpath -s "$python") ${deaf[1]} $(dirname "$mpirun")/prted}
fi

# The number by which scontrol knows this task alone: SLURM_JOB_ID of an array's last task is the whole array's number.
task=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
task=${task:-$SLURM_JOB_ID}

say() { echo "$(date '+%F %T') job $task: $*"; }

newest() { # the newest checkpoint of a run folder, as its own name says: numbers of equal width
    find "$1/checkpoints" -maxdepth 1 -name 'step-*' ! -name '*.part' 2>/dev/null | sort | tail -n 1
}

train() {
    local run=$2 code before ended= options=()
    # By SLURM's word; by default one BLAS thread where ranks share a node.
    [ -n "$SLURM_CPUS_PER_TASK" ] && options+=(--threads "$SLURM_CPUS_PER_TASK")
    before=$(newest "$run")
    say "start ${SLURM_RESTART_COUNT:-0} on $SLURM_JOB_NODELIST, ${SLURM_NTASKS:-1} ranks, run folder $run"
    # shellcheck disable=SC2086  # WRAPPER may have arguments
    "${deaf[@]}" "${start[@]}" $WRAPPER \
        "$python" -m mpi4py -m paralift train "$1" --out "$run" --resume auto "${options[@]}" "${@:3}" &
    local job=$!
    trap 'ended=limit; say "the time limit is near: checkpoint"; kill -$stop $job 2>/dev/null' USR1
    trap 'ended=term; say "SIGTERM: checkpoint"; kill -$stop $job 2>/dev/null' TERM
    wait $job; code=$?
    while [ $code -gt 128 ] && kill -0 $job 2>/dev/null; do # a signal ended the waiting, not the run
        wait $job; code=$?
    done
    say "the run ended with exit code $code"
    if [ "$LAUNCHER" = srun ] && [ -n "$ended" ] && [ $code -gt 128 ] && [ "$before" != "$(newest "$run")" ]; then
        code=$STOPPED # srun kills the ranks that end a moment later than the first
    fi
    if [ "$ended" = limit ] && { [ $code = $STOPPED ] || [ $code = $KILLED ]; }; then
        back_to_the_queue "$before" "$(newest "$run")" && code=0
    fi
    exit $code
}

back_to_the_queue() { # unless a whole start brought no new checkpoint: the next one would bring none either
    if [ "$1" = "$2" ]; then
        say "no checkpoint is new since this start, so not back to the queue: give the job more time (sbatch --time)"
        return 1
    fi
    say "back to the queue, to go on from $2"
    scontrol requeue "$task" && return
    say "it cannot be requeued here: submit it again with the same run folder and it goes on"
    return 1
}
