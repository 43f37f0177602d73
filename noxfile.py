"""The project's chores. `nox -l` lists them; `nox -s tests` is the one a newcomer runs."""

from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "lint", "types"]

GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]


@nox.session
def tests(session: nox.Session) -> None:
    """The default suite, on every core."""
    plain = [need for need in GROUPS["tests"] if not need.startswith("torchmultimodal")]
    session.install("-e", ".", *plain)
    # torchmultimodal pins packages of its day that its FLAVA does not need.
    session.install("--no-deps", *(need for need in GROUPS["tests"] if need.startswith("torchmultimodal")))
    # Neighbours stay on one core, so that what they share is made once; who is done first takes from the others.
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint, without installing the project."""
    session.install(*GROUPS["lint"])
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict types, of plugins too. Reads torch from the environment of `tests`, so that torch is installed once."""
    session.install(*GROUPS["types"])
    session.run("pyright", "--project", "pyproject.toml", "--pythonpath", ".nox/tests/bin/python")


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Every promise about speed beside its peer, in the environment of `tests`; keeps a dated table."""
    session.run(".nox/tests/bin/python", "-m", "benchmarks", *session.posargs, external=True)


@nox.session(venv_backend="none")
def peers(session: nox.Session) -> None:
    """Training curves beside those of transformers, in the environment of `tests`."""
    session.run(".nox/tests/bin/python", "-m", "pytest", "tests/peers", *session.posargs, external=True)


@nox.session(venv_backend="none")
def faults(session: nox.Session) -> None:
    """Trainers that are killed, in the environment of `tests`: `nox -s faults -- --trials 200`."""
    session.run(
        *(".nox/tests/bin/python", "-m", "pytest", "tests/faults", "tests/train/checkpoints", *session.posargs),
        env={"OMP_NUM_THREADS": "1", "HYPOTHESIS_PROFILE": "faults"},
        external=True,
    )


@nox.session(venv_backend="none")
def plugins(session: nox.Session) -> None:
    """The first-party plugins, each installed in the environment of `tests`, tested by its own tests, and removed."""
    python = ".nox/tests/bin/python"
    # timm and open_clip bring what the environment has already; open_clip is only what the loss is compared with.
    session.run(python, "-m", "pip", "install", "--no-deps", "timm>=1.0.20,<2", "open-clip-torch>=3,<4", external=True)
    session.run(python, "-m", "pip", "install", "ftfy", "regex", external=True)
    for folder in sorted(Path("plugins").glob("flava-parts-*")):
        session.run(python, "-m", "pip", "install", "--no-deps", f"./{folder}", external=True)
        try:
            session.run(python, "-m", "pytest", str(folder), env={"OMP_NUM_THREADS": "1"}, external=True)
        finally:
            session.run(python, "-m", "pip", "uninstall", "--yes", folder.name, external=True)


@nox.session(venv_backend="none")
def editor(session: nox.Session) -> None:
    """The YAML language server, from npm, with our schema, in the environment of `tests`. Needs node."""
    folder = ".nox/editor"
    session.run("npm", "install", "--silent", "--prefix", folder, "yaml-language-server@1", external=True)
    server = f"{folder}/node_modules/.bin/yaml-language-server"
    session.run(
        *(".nox/tests/bin/python", "-m", "pytest", "tests/editor", *session.posargs),
        env={"YAML_LANGUAGE_SERVER": server},
        external=True,
    )
