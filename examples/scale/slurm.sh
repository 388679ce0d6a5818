#!/bin/bash
# sbatch slurm.sh    from a folder that all nodes share, with plan.yaml in it
#SBATCH --job-name=tunebook
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail

export TUNEBOOK_RUNS="$SLURM_SUBMIT_DIR/runs"
export TUNEBOOK_CACHE="$SLURM_SUBMIT_DIR/cache"
export OMP_NUM_THREADS="$SLURM_CPUS_PER_TASK"

# A job that Slurm starts again goes on from the newest good checkpoint.
if [ -d "$TUNEBOOK_RUNS/big" ]; then
    work=(resume big)
else
    work=(run plan.yaml --name big)
fi
srun --kill-on-bad-exit=1 tunebook "${work[@]}" --workers "$SLURM_NTASKS" --sharded
