"""Worker of a merged export: `python -m m3po.jobs.merge runs/<id>`; config MergeConfig, no input.

The model is written beside its place and takes it when it is whole. Result: `path`, `dtype`, `bytes`.
"""

from __future__ import annotations

from pathlib import Path

from m3po.errors import StorageError
from m3po.files import new_folder
from m3po.jobs.job_models import check_model
from m3po.jobs.worker import Worker, main
from m3po.settings import MergeConfig


def run(job: Worker) -> dict:
    config = MergeConfig.of_run(job.config)
    job.progress(0, 1, "models", message="Loading the model")
    check_model(job, config.policy, config.adapter, config)
    out = Path(config.out)
    from m3po.models.merging import merge_adapter
    from m3po.training.faults import is_disk_full

    with new_folder(out, job.folder.path.name) as part:
        try:
            dtype = merge_adapter(config.policy, config.adapter, part, config)
        except Exception as error:
            if is_disk_full(error):
                raise StorageError(f"{out} cannot be written: the disk is full; free some space and resume.") from error
            raise
        (part / "README.md").write_text(job.config.get("card", ""), encoding="utf-8")
        size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    job.progress(1, 1, "models", message=f"Written to {out}.")
    return {"path": str(out), "dtype": dtype, "bytes": size, "message": f"The merged model is in {out}."}


if __name__ == "__main__":
    main(run)
