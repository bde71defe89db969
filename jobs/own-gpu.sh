#!/bin/bash
# Starts a command so that it sees one GPU alone: that of its rank's number among the ranks of its node.
#
#     mpirun -n 4 jobs/own-gpu.sh python -m mpi4py ...
#
# CUDA_VISIBLE_DEVICES, as SLURM sets it, lists the GPUs to choose from.
rank=${OMPI_COMM_WORLD_LOCAL_RANK:-${MPI_LOCALRANKID:-${SLURM_LOCALID:-0}}}
if [ -n "$CUDA_VISIBLE_DEVICES" ]; then
    IFS=, read -ra gpus <<< "$CUDA_VISIBLE_DEVICES"
    if [ "$rank" -ge ${#gpus[@]} ]; then
        echo "rank $rank of this node has no GPU of its own: CUDA_VISIBLE_DEVICES is $CUDA_VISIBLE_DEVICES;" \
            "ask for as many GPUs a node as it has ranks (sbatch --gpus-per-node)" >&2
        exit 2
    fi
    rank=${gpus[$rank]}
fi
export CUDA_VISIBLE_DEVICES=$rank
exec "$@"
