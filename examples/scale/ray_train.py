"""A run as a Ray Train job: `ray job submit -- python ray_train.py plan.yaml 4`, with `pip install 'tunebook[ray]'`."""

import sys

from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer


def work(config: dict[str, str]) -> None:
    """One worker. Ray has made the process group and set RANK, WORLD_SIZE and the rest; Tunebook finds both."""
    from tunebook.cli.app import app

    app(["run", config["plan"], "--name", "big", "--workers", config["workers"]], standalone_mode=False)


if __name__ == "__main__":
    plan, workers = sys.argv[1:]
    TorchTrainer(
        work,
        train_loop_config={"plan": plan, "workers": workers},
        scaling_config=ScalingConfig(num_workers=int(workers), use_gpu=True),
    ).fit()
