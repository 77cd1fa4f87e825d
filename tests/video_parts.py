"""What processors with a video part need, installed beside the app: torchvision, and num2words for SmolVLM.

Qwen-VL, SmolVLM, InternVL and LLaVA-OneVision have such processors. The app's own environment must not have
torchvision, or transformers would choose other image processors for every model; so the packages lie in a folder of
their own, which only the child process of tests/models/test_video_architectures.py has on its path.

`python tests/video_parts.py` installs them (`make install-dev` does).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("torchvision==0.28.0", "num2words==0.5.14")  # torchvision: the one that goes with torch 2.13.0
FOLDER_VARIABLE = "M3PO_TEST_VIDEO_PARTS"
_declared: list = []  # a declaration lives as long as its object
_CACHE = Path(__file__).resolve().parents[1] / ".cache" / "video-parts"


def install() -> Path:
    """The folder that holds PACKAGES, downloaded once; raises RuntimeError with pip's last line where that fails."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = _CACHE / "-".join([f"py{python}", *(package.replace("==", "-") for package in PACKAGES)])
    if folder.is_dir():
        return folder
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as part:  # renamed when whole: a broken download is no installation
        target = Path(part) / "packages"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*command, "--target", str(target), *PACKAGES], capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["pip said nothing"]
            raise RuntimeError(f"{' and '.join(PACKAGES)} could not be installed beside the app: {lines[-1]}")
        for wheel in target.glob("*.whl"):
            wheel.unlink()
        if not folder.is_dir():  # another process may have been quicker
            shutil.move(target, folder)
    return folder


def enable(folder: str | Path) -> None:
    """Make PACKAGES importable in this process, before transformers looks for them.

    The registry's torchvision is built for CUDA. Beside a CPU build of torch its compiled operators cannot be loaded,
    and the import asks for two of them by name: they are declared here, and no processor calls them.
    """
    sys.path.insert(0, str(folder))
    import torch

    compiled = next(Path(folder, "torchvision").glob("_C*"), None)
    try:
        torch.ops.load_library(str(compiled))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)


def enabled() -> bool:
    """Whether this is the child process that has them."""
    return FOLDER_VARIABLE in os.environ


if __name__ == "__main__":
    try:
        print(f"Test packages are in {install()}.")
    except RuntimeError as error:
        sys.exit(str(error))
