"""Does the development environment resolve, on every Python that is here, as `make venv` would install it?

    python tools/check_install.py [--seconds 600] [--python PATH ...]

pip resolves without installing, once as it is set up on this machine and once from the public index alone, without local wheels
and without what its configuration files add: a wheel that lies on one machine can hide pins that fit nowhere else. One line each.

Exit status 1 where pins contradict each other, or where not one resolution came to an end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
SHOWN = ("torch", "triton", "numpy", "zarr")
CONTRADICTIONS = ("ResolutionImpossible", "conflicting dependencies", "No matching distribution", "requires a different Python")
# What the public index needs to be reached through, from wherever pip is told.
KEPT_SETTINGS = ("index-url", "cert", "client-cert", "proxy", "trusted-host", "timeout", "retries")


@dataclass(frozen=True)
class Outcome:
    """How one resolution ended: `resolves` is None where it did not."""

    resolves: bool | None
    text: str


def interpreter(version: str) -> Path | None:
    """A Python of this version that runs: on the path, or installed by pyenv."""
    name = f"python{version}"
    folders = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    on_path = shutil.which(name)
    candidates = [Path(on_path)] if on_path else []
    for candidate in [*candidates, *sorted(folders.glob(f"{version}.*/bin/{name}"), reverse=True)]:
        # a shim of pyenv is on the path even where it leads to no interpreter
        if subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def public_index_only(python: Path) -> dict[str, str]:
    """The environment in which pip knows neither local wheels nor second indexes nor constraints of the machine."""
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    settings = dict(re.findall(r"^(?:global|:env:|install)\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
    kept = {f"PIP_{name.upper().replace('-', '_')}": settings[name] for name in KEPT_SETTINGS if name in settings}
    others = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return others | kept | {"PIP_CONFIG_FILE": os.devnull}


def resolve(python: Path, is_public: bool, seconds: float) -> Outcome:
    """Resolve the development environment in a fresh virtual environment, from a project folder that holds metadata alone."""
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    with tempfile.TemporaryDirectory(prefix="actlas-install-") as folder:
        project = Path(folder, "project")
        (project / "actlas").mkdir(parents=True)
        (project / "actlas/__init__.py").touch()
        for name in ("pyproject.toml", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["readme"]):
            shutil.copy(ROOT / name, project / name)
        subprocess.run([python, "-m", "venv", f"{folder}/venv"], check=True)
        report = Path(folder, "report.json")
        command = [f"{folder}/venv/bin/python", "-m", "pip", "install", "-qq", "--dry-run", "--report", str(report)]
        command += ["-c", str(ROOT / "constraints.txt"), torch, "-e", f"{project}[dev]"]
        environment = public_index_only(python) if is_public else dict(os.environ)
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment, check=False)
        except subprocess.TimeoutExpired:
            return Outcome(None, f"not resolved within {seconds:.0f} s")
        if ended.returncode:
            is_contradiction = any(words in ended.stderr for words in CONTRADICTIONS)
            return Outcome(False if is_contradiction else None, f"pip failed:\n{ended.stderr.strip()}")
        packages = {item["metadata"]["name"]: item["metadata"]["version"] for item in json.loads(report.read_text())["install"]}
    versions = ", ".join(f"{name} {packages.get(name, 'absent')}" for name in SHOWN)
    return Outcome(True, f"resolves, {len(packages)} packages: {versions}")


def main() -> int:
    """Resolve on every Python, print a line each, and say with the exit status whether the pins fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="for all resolutions together (default 600)")
    parser.add_argument("--python", action="append", type=Path, help="resolve for this interpreter alone")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    interpreters = {str(python): python for python in options.python} if options.python else {v: interpreter(v) for v in VERSIONS}
    settings = {False: "as pip is set up here", True: "the public index alone"}
    outcomes = []

    def within_time(python: Path, is_public: bool) -> Outcome:
        return resolve(python, is_public, max(1, end - time.monotonic()))

    with ThreadPoolExecutor(3) as pool:
        resolving = {
            (name, is_public): pool.submit(within_time, python, is_public)
            for name, python in interpreters.items()
            for is_public in settings
            if python
        }
        for name in interpreters:
            if (name, True) not in resolving:
                print(f"Python {name}: not there, nothing was checked for it", flush=True)
                continue
            for is_public, words in settings.items():
                outcome = resolving[name, is_public].result()
                outcomes.append(outcome)
                checked = "not checked, " if outcome.resolves is None else ""
                print(f"Python {name}, {words}: {checked}{outcome.text}", flush=True)
    if not any(outcome.resolves for outcome in outcomes):
        return 1
    return int(any(outcome.resolves is False for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
