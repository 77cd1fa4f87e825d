"""The house's own rules: floors, style, pinned versions, the README's promises, sizes, no stray paths."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {
    ".ci", ".gitattributes", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "app.py", "benchmarks",
    "data", "docs", "m3po", "pyproject.toml", "requirements-dev.txt", "requirements.txt", "tests", "ui",
}  # fmt: skip
MAX_MODEL_BYTES = 20_000_000
MAX_FILE_BYTES = 12_000_000
TARGETS = ("demo", "test", "install", "lint", "bench", "screenshots")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)


def tracked_files() -> list[Path]:
    """What git tracks or would track; from an archive without git, every file but the known leftovers of running."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = run(
            "git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"
        )
        assert listed.returncode == 0, listed.stderr
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    ignored = {line.strip().strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not ignored.intersection(path.relative_to(ROOT).parts) and path.suffix != ".pyc"
    ]


def read_text(path: Path) -> str | None:
    """None for a binary file."""
    data = path.read_bytes()
    return None if b"\0" in data[:8192] else data.decode("utf-8")


# --- style and floors ------------------------------------------------------------------------------------------------


def test_ruff_finds_nothing() -> None:
    found = run(sys.executable, "-m", "ruff", "check", ".")
    assert found.returncode == 0, found.stdout


def test_every_file_is_formatted() -> None:
    found = run(sys.executable, "-m", "ruff", "format", "--check", ".")
    assert found.returncode == 0, found.stdout


def test_imports_point_one_way() -> None:
    found = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache")
    assert found.returncode == 0, found.stdout + found.stderr
    assert " 0 broken" in found.stdout, found.stdout


def test_the_entry_imports_no_library_that_belongs_to_a_floor() -> None:
    """app.py is no package, so import-linter cannot see it."""
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", (ROOT / "app.py").read_text(), re.MULTILINE))
    assert not imported & {"duckdb", "gradio", "torch", "transformers", "trl", "peft", "datasets"}


def test_sql_is_written_in_store_alone() -> None:
    statement = re.compile(r"""["'](SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH \w+ AS)\s""")
    outside = [p for p in tracked_files() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in ("m3po", "ui")]
    found = [p.name for p in outside if p.parent.name != "store" and statement.search(p.read_text(encoding="utf-8"))]
    assert len(outside) > 50 and found == []


def test_every_module_is_on_a_floor() -> None:
    """A module that the floors do not name could import anything."""
    floors = re.search(r"layers = \[(.*?)\n\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    named = set(re.findall(r"m3po\.(\w+)", floors.group(1)))
    there = {path.stem for path in (ROOT / "m3po").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {"__init__", "__main__"} == named


def test_packages_import_nothing_by_themselves() -> None:
    busy = [
        p for p in (ROOT / "m3po").rglob("__init__.py") if re.search(r"^\s*(import|from) ", p.read_text(), re.MULTILINE)
    ]
    assert busy == []


@pytest.mark.parametrize("module", ["m3po.studio", "m3po.cli"])
def test_the_page_and_the_command_line_start_without_torch(module: str) -> None:
    code = (
        f"import sys, {module}; sys.exit(str(sorted({{'torch', 'transformers', 'trl', 'gradio'}} & set(sys.modules))))"
    )
    found = run(sys.executable, "-c", code)
    assert found.stderr.strip() == "[]", found.stderr


def test_every_module_says_why_it_exists() -> None:
    scripts = [p for p in tracked_files() if p.suffix == ".py" and p.name not in ("__init__.py",)]
    silent = [p.relative_to(ROOT) for p in scripts if not re.match(r'(#.*\n)*\s*r?"""', p.read_text(encoding="utf-8"))]
    assert len(scripts) > 30 and silent == []


# --- what is promised ------------------------------------------------------------------------------------------------


def test_the_makefile_has_the_targets_and_the_readme_the_two_commands() -> None:
    makefile, readme = (ROOT / "Makefile").read_text(), (ROOT / "README.md").read_text()
    for target in TARGETS:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in ("make demo", "make test"):
        assert command in readme
    for command in re.findall(r"`make ([\w-]+)", readme):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE), f"README names make {command}"


def test_ci_runs_exactly_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text().splitlines()[-1] == "exec make test"
    assert run("bash", "-n", str(script)).returncode == 0


def test_links_and_pictures_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = re.findall(r"\]\(([^)#\s]+)", readme) + re.findall(r'src="([^"]+)"', readme)
    missing = [t for t in targets if not re.match(r"[a-z]+:", t) and not (ROOT / t).exists()]
    assert missing == []


def command_line() -> dict[str, list[set[str]]]:
    """Each command of `python -m m3po` with its options, each with all its names, from the program itself."""
    import typer

    module = importlib.import_module("m3po.cli")
    app = next(value for value in vars(module).values() if isinstance(value, typer.Typer))
    commands = typer.main.get_command(app).commands
    return {
        name: [
            {option for option in (*parameter.opts, *parameter.secondary_opts) if option.startswith("--")}
            for parameter in command.params
            if parameter.param_type_name == "option"
        ]
        for name, command in commands.items()
        if not command.hidden
    }


def test_the_readme_tells_the_command_line_as_it_is() -> None:
    real = command_line()
    readme = (ROOT / "README.md").read_text()
    blocks = [block for block in re.findall(r"```\w*\n(.*?)```", readme, re.DOTALL) if "python -m m3po init" in block]
    assert blocks, "the README has no block that lists the command line"
    lines = [line.split(" #")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    told: dict[str, set[str]] = {}
    shared = re.findall(r"--[a-z][a-z0-9-]*", re.search(r"MODEL_OPTIONS are(.*?);", readme, re.DOTALL).group(1))
    for line in lines:
        if match := re.search(r"python -m m3po (\w[\w-]*)(.*)", line):
            told.setdefault(match.group(1), set()).update(re.findall(r"--[a-z][a-z0-9-]*", match.group(2)))
            told[match.group(1)].update(shared if "[MODEL_OPTIONS]" in line else ())
    assert set(told) == set(real)
    for name, options in told.items():
        assert options <= set().union(*real[name]), name
        assert [names for names in real[name] if not names & options] == [], f"{name}: not in the README"


def test_the_command_that_a_run_shows_can_be_called() -> None:
    from m3po.jobs.planning import plans
    from m3po.settings import EvaluateConfig, SampleConfig, ScoreConfig, SelectConfig

    workspace = SimpleNamespace(path="DIR")
    real = command_line()
    for kind, config in {
        "sample": SampleConfig("p"), "score": ScoreConfig("p", "m"), "select": SelectConfig(),
        "evaluate": EvaluateConfig("p"),
    }.items():  # fmt: skip
        for field in dataclasses.fields(config):  # every setting is another than its default, then
            if isinstance(getattr(config, field.name), bool):
                object.__setattr__(config, field.name, not getattr(config, field.name))
            else:
                object.__setattr__(config, field.name, "another")
        shown = set(re.findall(r"--[a-z-]+", plans.command_line(kind, workspace, config)))
        assert len(shown) > 4 and shown <= set().union(*real[kind]), kind


def test_requirements_are_pinned_exactly_and_installed() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            line = line.split("#")[0].strip()
            if not line or line == "-r requirements.txt":
                continue
            match = re.fullmatch(r"([\w.-]+)==(\d+(?:\.\d+)+)", line)
            assert match, f"{name}: {line} is not pinned exactly"
            # A local build (2.13.0+cpu) is the same version.
            assert version(match.group(1)).split("+")[0] == match.group(2), line


# --- what lies in it -------------------------------------------------------------------------------------------------


def test_nothing_lies_about_at_the_top() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked_files()} <= TOP_LEVEL


def test_the_demo_models_are_small_safetensors_folders() -> None:
    folders = [config.parent for config in (ROOT / "data").glob("*/config.json")]
    assert len(folders) >= 2, "the demo needs a policy and a MAS scorer in data/"
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_MODEL_BYTES
    assert all(list(folder.glob("*.safetensors")) for folder in folders)
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pth", ".pkl", ".py")]


def test_no_file_is_enormous() -> None:
    assert [path for path in tracked_files() if path.stat().st_size > MAX_FILE_BYTES] == []


def test_no_path_of_somebodys_machine() -> None:
    places = "|".join(["home/[a-z]", "Users/[A-Za-z]", "root/", "work/", "opt/[a-z]"])
    stray = re.compile(rf"(?<![\w./:-])/(?:{places})|[A-Z]:\\Users")
    found = []
    for path in tracked_files():
        for number, line in enumerate((read_text(path) or "").splitlines(), 1):
            if stray.search(line) and not line.startswith(("#!", "    places = ", "    stray = ")):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []
