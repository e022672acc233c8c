#!/usr/bin/env bash
# PaLM 8B on 8 nodes of 8 GPUs: a process a node, weights sharded over all 64 devices.
#   sbatch examples/slurm.sh
#SBATCH --job-name=palmetto
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --signal=TERM@300
#SBATCH --requeue

# The run directory, the corpus and the virtual environment must be seen by every node. On the signal, five minutes before
# the time is up, the run writes a checkpoint and ends with 75: the job goes back into the queue, and on from there.
set -uo pipefail
srun .venv/bin/palmetto train palm-8b --run "$SCRATCH/palm-8b" "corpus.source=$SCRATCH/corpus" \
    mesh.data=64 --distributed --stopped-exit 75
code=$?
if [ "$code" = 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
