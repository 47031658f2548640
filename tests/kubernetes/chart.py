"""The chart and the kustomize folders, as documents."""

import functools
import pathlib
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/pounce"
KUSTOMIZE = ROOT / "deploy/kubernetes"
BIN = pathlib.Path(sys.executable).parent


class Refused(Exception):
    """helm or kustomize renders nothing."""


def _run(*command):
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if ran.returncode:
        raise Refused(ran.stderr + ran.stdout)
    return ran.stdout


def _with_values(values, command):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return command("--values", file.name)


def lint(values):
    """Raises Refused with what helm has to say."""
    _with_values(values, functools.partial(_run, BIN / "helm", "lint", "--strict", CHART))


def render(values, release="pounce"):
    """The documents that helm makes of values; raises Refused."""
    text = _with_values(
        values, functools.partial(_run, BIN / "helm", "template", release, CHART, "--namespace", "pounce")
    )
    return [document for document in yaml.safe_load_all(text) if document]


def notes(values):
    """What helm prints after an installation."""
    install = functools.partial(_run, BIN / "helm", "install", "pounce", CHART, "--dry-run=client")
    return _with_values(values, install).split("NOTES:\n")[1]


def kustomize(folder):
    """The documents that kustomize makes of a folder; raises Refused."""
    return [document for document in yaml.safe_load_all(_run(BIN / "kubectl", "kustomize", folder)) if document]


def find(documents, kind, name=None):
    """The one document of a kind, and of a name, if there are several."""
    found = [one for one in documents if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} documents are a {kind} {name or ''}"
    return found[0]
