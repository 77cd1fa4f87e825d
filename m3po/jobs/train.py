"""Worker of a training run: `python -m m3po.jobs.train runs/<id>`; input TRAIN_INPUT, config TrainConfig.

Result: `adapter` (folder inside the run's), `pairs`, `human_pairs`, `left_out`, `seconds`, `steps`, `processes`,
`final` (last metrics), `packages` and `code` (m3po.versions), `trainable_parameters`. After a resume the steps since
the last checkpoint are told again: of two metrics events for one step the later counts.
"""

from __future__ import annotations

import os

from m3po.jobs.supervising import supervise
from m3po.jobs.worker import Worker, main
from m3po.settings import TrainConfig
from m3po.training import ranks
from m3po.training.presets import check_pairs


def run(job: Worker) -> dict | int:
    """Of several processes each runs this; who supervises them returns the exit status of what they told."""
    config = TrainConfig(**job.config)
    if ranks.several(config) and not ranks.is_rank():
        ranks.check_devices(config)
        processes = ranks.count_processes(config)
        path = job.folder.path / ranks.FILE
        if not path.exists():  # else somebody's own
            path.write_text(ranks.describe_launch(config, processes), encoding="utf-8")
        return supervise(job.folder, processes, lambda: job.stop_requested)
    rows = job.read_input()
    check_pairs(len(rows), len(rows))
    # The trainer wants a single GPU a process. Read when torch first looks for GPUs, hence set before its import, which
    # is here because it takes seconds: not before the input is known to be good.
    if not ranks.is_rank():
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if config.method == "grpo":
        from m3po.training.grpo import train_by_reward as train
    else:
        from m3po.training.dpo import train_pairs as train
    return train(config, rows, job.folder.path, job, job.folder.read_workspace_config())


if __name__ == "__main__":
    main(run)
