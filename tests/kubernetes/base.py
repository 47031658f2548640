"""The folders for kustomize, which are made of the chart, so that the two do not drift apart.

usage: base.py --write
"""

import sys

import yaml

import chart

# Folder, values, and the kinds that go into it. kustomization.yaml and registry.yml are written by hand.
FOLDERS = [
    ("base", {}, ["Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"], "pounce"),
    ("autoscaling", {"autoscaling": {"enabled": True}}, ["HorizontalPodAutoscaler"], "pounce"),
    ("node-cache", {"nodeCache": {"enabled": True}}, ["DaemonSet", "NetworkPolicy"], "pounce-node-cache"),
]
HEAD = "# Made of deploy/helm/pounce, which explains it, by `make manifests`. Change it there, or in an overlay.\n"


def files():
    """Each file's path, and its text."""
    for folder, values, kinds, name in FOLDERS:
        documents = chart.render(values)
        for kind in kinds:
            document = chart.find(documents, kind, name)
            _adapt(document)
            text = yaml.safe_dump(document, sort_keys=False, width=120)
            yield chart.KUSTOMIZE / folder / f"{kind.lower()}.yaml", HEAD + text
        if folder == "node-cache":
            yield (
                chart.KUSTOMIZE / folder / "registry.yml",
                chart.find(documents, "ConfigMap", name)["data"]["registry.yml"],
            )


def _adapt(document):
    """kustomize has no chart's version, and restarts pods by a ConfigMap's name."""
    if isinstance(document, dict):
        document.pop("checksum/config", None)
        for label in ["helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"]:
            document.pop(label, None)
    for part in document.values() if isinstance(document, dict) else document if isinstance(document, list) else []:
        _adapt(part)
    if isinstance(document, dict) and document.get("annotations") == {}:
        del document["annotations"]


def stale():
    """The files that are not what the chart says."""
    return [str(path) for path, text in files() if not path.exists() or path.read_text() != text]


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    for path, text in files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
