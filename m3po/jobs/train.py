"""Worker of a training run: `python -m m3po.jobs.train runs/<id>`; input TRAIN_INPUT, config TrainConfig.

Result: `adapter` (folder inside the run's), `pairs`, `human_pairs`, `left_out`, `seconds`, `steps`, `final` (last
metrics), `packages` (versions), `trainable_parameters`. After a resume the steps since the last checkpoint are
told again: of two metrics events for one step the later counts.
"""

from __future__ import annotations

import os

from m3po.jobs.worker import Worker, main
from m3po.settings import TrainConfig
from m3po.training.presets import check_pairs


def run(job: Worker) -> dict:
    rows = job.read_input()
    check_pairs(len(rows), len(rows))
    # The trainer wants a single GPU. Read when torch first looks for GPUs, hence set before its import, which is
    # here because it takes seconds: not before the input is known to be good.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    config = TrainConfig(**job.config)
    if config.method == "grpo":
        from m3po.training.grpo import train_by_reward

        return train_by_reward(config, rows, job.folder.path, job)
    from m3po.training.dpo import train_pairs

    return train_pairs(config, rows, job.folder.path, job)


if __name__ == "__main__":
    main(run)
