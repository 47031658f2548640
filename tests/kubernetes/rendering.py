"""The chart and the kustomize folders: what they render for many values, and what they refuse."""

import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import tomllib

import yaml

import base
import chart
import policy

S3 = {"bucket": "images", "region": "auto", "regionendpoint": "https://t3.storage.dev"}
MINIMAL = {"config": {"storage": {"s3": S3}}}
ALL = yaml.safe_load(
    """
existingSecret: registry-keys
htpasswd: { existingSecret: users }
tls: { existingSecret: certificate }
image: { repository: registry.example.com/pounce, digest: "sha256:%s" }
imagePullSecrets: [{ name: puller }]
metrics: { enabled: true }
serviceMonitor: { enabled: true, labels: { release: prometheus }, relabelings: [{ action: labeldrop, regex: pod }] }
prometheusRule: { enabled: true, labels: { release: prometheus } }
autoscaling: { enabled: true }
service: { type: LoadBalancer, port: 443, externalTrafficPolicy: Local, annotations: { example.com/a: b } }
ingress: { enabled: true, className: nginx, tls: [{ secretName: web, hosts: [registry.example.com] }] }
httpRoute: { enabled: true }
networkPolicy:
  from: [{ ipBlock: { cidr: 10.0.0.0/8 } }]
  extraEgress: [{ to: [{ ipBlock: { cidr: 169.254.170.23/32 } }], ports: [{ port: 80 }] }]
nodeCache:
  enabled: true
  url: https://registry.example.com
  upstreams: [docker.io, ghcr.io]
  existingSecret: node-cache
  nodeSelector: { example.com/gpu: "true" }
  tolerations: [{ key: nvidia.com/gpu, operator: Exists }]
env: [{ name: SSL_CERT_FILE, value: /etc/own/ca.crt }]
volumes: [{ name: own-ca, configMap: { name: ca } }]
volumeMounts: [{ name: own-ca, mountPath: /etc/own, readOnly: true }]
serviceAccount: { annotations: { eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/pounce" } }
podAnnotations: { example.com/a: b }
podLabels: { example.com/c: d }
priorityClassName: system-cluster-critical
nodeSelector: { kubernetes.io/os: linux }
tolerations: [{ operator: Exists }]
affinity: { nodeAffinity: {} }
"""
    % ("0" * 64)
)
MATRIX = {
    "nothing": {},
    "minimal": MINIMAL,
    "all": ALL,
    "node-cache": {"nodeCache": {"enabled": True, "hostPath": "/var/cache/pounce"}},
    "one-replica": {"replicaCount": 1},
    "off": {
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "shutdown": {"preStopSeconds": 0},
        "serviceAccount": {"create": False},
    },
    "probes": {"livenessProbe": {"exec": {"command": ["/pounce", "check", "--alive"]}}, "startupProbe": None},
    "names": {"fullnameOverride": "a" * 60, "nodeCache": {"enabled": True}, "metrics": {"enabled": True}},
}
# Values that are refused, and a part of the message.
REFUSED = [
    ({"tls": {"existingSecret": "x"}, "nodeCache": {"enabled": True}}, "nodeCache.url is needed with tls"),
    ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    ({"replicaCount": "two"}, "'/replicaCount': got string, want integer"),
    ({"image": {"digest": "latest"}}, "'/image/digest': 'latest' does not match"),
    ({"serviceMonitor": {"enabled": True}}, "'/metrics/enabled': value must be true"),
    ({"tmp": {"sizeLimit": "1GB"}}, "'/tmp/sizeLimit': '1GB' does not match"),
    ({"networkPolicy": {"egressPorts": ["https"]}}, "'/networkPolicy/egressPorts/0': got string"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "'/podDisruptionBudget/maxUnavailable'"),
    ({"nodeCache": {"upstreams": ["https://ghcr.io"]}}, "'/nodeCache/upstreams/0'"),
    ({"config": {"http": {"secret": "x" * 32}}}, "`secret` in plain text: put it into the Secret"),
    ({"config": {"proxy": {"upstreams": [{"host": "ghcr.io", "password": "123"}]}}}, "`password` in plain text"),
    (
        {"config": {"notifications": {"endpoints": [{"headers": {"Authorization": ["Bearer a"]}}]}}},
        "`Authorization` in plain text",
    ),
    ({"nodeCache": {"enabled": True, "config": {"storage": {"s3": {"secretkey": "k"}}}}}, "`secretkey` in plain text"),
]


def values_render():
    """Each of MATRIX is linted and rendered, and neither a schema nor a policy finds anything."""
    for name, values in MATRIX.items():
        chart.lint(values)
        found = policy.mistakes(chart.render(values))
        assert not found, (name, found)


def bad_values_are_refused():
    for values, message in REFUSED:
        try:
            chart.render(values)
        except chart.Refused as refused:
            assert message in str(refused), (values, str(refused))
        else:
            raise AssertionError(f"{values} are rendered")


def policies_find_what_is_wrong():
    """Each of these changes of the rendered documents is found."""
    documents = chart.render(ALL)
    for kind, path, value, finding in [
        ("Deployment", "spec.template.spec.automountServiceAccountToken", True, "a token of the API"),
        ("Deployment", "spec.template.spec.enableServiceLinks", True, "Services become variables"),
        ("Deployment", "spec.template.spec.securityContext.runAsUser", 0, "the image's user"),
        ("DaemonSet", "spec.template.spec.securityContext.seccompProfile", None, "no seccomp"),
        (
            "DaemonSet",
            "spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem",
            False,
            "root can be written",
        ),
        ("Deployment", "spec.template.spec.containers.0.securityContext.capabilities", {"drop": []}, "get privileges"),
        ("Deployment", "spec.template.spec.containers.0.resources.limits", {}, "not bounded"),
        ("Deployment", "spec.template.spec.containers.0.image", "pounce", "no version"),
        (
            "Deployment",
            "spec.template.spec.containers.0.env.0",
            {"name": "AWS_SECRET_ACCESS_KEY", "value": "k"},
            "plain text",
        ),
        ("Deployment", "spec.template.spec.containers.0.livenessProbe.httpGet.port", "web", "not there"),
        ("Deployment", "spec.template.spec.containers.0.volumeMounts.1.name", "cache", "differ"),
        ("Deployment", "spec.template.spec.terminationGracePeriodSeconds", 30, "killed before"),
        ("Deployment", "spec.template.spec.volumes.1.emptyDir", {}, "no limit"),
        ("Deployment", "spec.template.spec.volumes.0.configMap.name", "other", "no ConfigMap"),
        ("Deployment", "spec.template.metadata.labels", {}, "selects 0 workloads"),
        ("Deployment", "spec.replicas", 2, "exclude each other"),
        ("Deployment", "spec.template.spec.containers.0.lifecycle.preStop.sleep.second", 5, "dditional"),
        ("PodDisruptionBudget", "spec.maxUnavailable", 0, "drained"),
        ("HorizontalPodAutoscaler", "spec.scaleTargetRef.name", "x", "scales nothing"),
        ("Ingress", "spec.rules.0.http.paths.0.backend.service.port.name", "web", "no port"),
        ("HTTPRoute", "spec.rules.0.backendRefs.0.port", 80, "no port"),
        ("HTTPRoute", "spec.hosts", [], "its spec has"),
        ("ServiceMonitor", "spec.selector.matchLabels", {"app.kubernetes.io/instance": "x"}, "one Service"),
    ]:
        changed = copy.deepcopy(documents)
        _set(next(one for one in changed if one["kind"] == kind), path.split("."), value)
        found = policy.mistakes(changed)
        assert any(kind in one and finding in one for one in found), (path, found)


def _set(at, path, value):
    *way, last = [int(part) if part.isdigit() else part for part in path]
    for part in way:
        at = at[part]
    at[last] = value


def alerts_and_versions_are_those_of_the_program():
    """The alerts are those of config/, and find the job that the ServiceMonitor names; one release has one version."""
    documents = chart.render(ALL)
    rules = yaml.safe_load((chart.ROOT / "config/prometheus/alerts.yml").read_text())
    assert chart.find(documents, "PrometheusRule")["spec"] == rules
    relabelings = chart.find(documents, "ServiceMonitor")["spec"]["endpoints"][0]["relabelings"]
    assert {"targetLabel": "job", "replacement": "pounce"} in relabelings
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    version = tomllib.loads((chart.ROOT / "Cargo.toml").read_text())["package"]["version"]
    assert about["version"] == about["appVersion"] == version


def every_value_is_described():
    """values.yaml and values.schema.json have the same keys, and the notes name no value that is not there."""
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    schema = yaml.safe_load((chart.CHART / "values.schema.json").read_text())

    def compare(value, schema, path):
        if schema.get("properties") and schema.get("additionalProperties") is False and isinstance(value, dict):
            assert set(value) == set(schema["properties"]) - {"global"}, path
            for key, inner in value.items():
                compare(inner, schema["properties"][key], f"{path}.{key}")

    compare(values, schema, "")
    for name in re.findall(r"\((networkPolicy\.\w+|config\.[\w.]+)\)", chart.notes({})):
        assert name.split(".")[1] in values[name.split(".")[0]], name


def kustomize_is_current():
    """The folders are what the chart says, and they and their overlay satisfy the policies."""
    assert not base.stale(), f"run `make manifests`: {base.stale()}"
    for components in [[], ["autoscaling"], ["node-cache"], ["autoscaling", "node-cache"]]:
        found = policy.mistakes(example(components))
        assert not found, (components, found)
    image = policy.pod_of(chart.find(example([]), "Deployment"))["containers"][0]["image"]
    assert image.startswith("registry.example.com/pounce:")


def example(components):
    """The overlay, with components in the place of its comment."""
    folder = chart.KUSTOMIZE / "example"
    text = (folder / "kustomization.yaml").read_text()
    line = "# components: [../autoscaling, ../node-cache]\n"
    assert line in text
    chosen = f"components: [{', '.join('../' + one for one in components)}]\n" if components else ""
    with tempfile.TemporaryDirectory() as copy_of:
        # kustomize takes relative paths only.
        back = os.path.relpath(chart.KUSTOMIZE, os.path.realpath(copy_of))
        text = text.replace(line, chosen).replace("../", f"{back}/")
        pathlib.Path(copy_of, "kustomization.yaml").write_text(text)
        shutil.copy(folder / "registry.yml", copy_of)
        return chart.kustomize(copy_of)


def examples():
    """The blocks of values in docs/kubernetes.md, each of which begins with a comment that says so."""
    text = (chart.ROOT / "docs/kubernetes.md").read_text()
    blocks = re.findall(r"```yml\n(# values.*?)```", text, re.S)
    assert len(blocks) == 3, len(blocks)
    return [yaml.safe_load(block) for block in blocks]


def examples_of_the_documents_render():
    for values in examples():
        found = policy.mistakes(chart.render(values))
        assert not found, (values, found)


def commands_of_the_documents_are_right():
    """Those that a cluster is not needed for: the Secret, and what is installed, looked at, or upgraded to."""
    text = (chart.ROOT / "docs/kubernetes.md").read_text()
    blocks = re.findall(r"```shell\n(.*?)```", text, re.S)
    commands = [line.split("  # ")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    secret = next(line for line in commands if " create secret " in line)
    made = yaml.safe_load(_shell(f"{secret} --dry-run=client -o yaml"))
    container = policy.pod_of(chart.find(chart.render({}), "Deployment"))["containers"][0]
    assert {"secretRef": {"name": made["metadata"]["name"]}} in container["envFrom"]
    assert set(made["data"]) == {"REGISTRY_HTTP_SECRET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    install = next(line for line in commands if " install " in line)
    documents = yaml.safe_load_all(json.loads(_shell(f"{install} --dry-run=client -o json"))["manifest"])
    config = chart.find([one for one in documents if one], "ConfigMap")
    assert yaml.safe_load(config["data"]["registry.yml"])["storage"]["s3"] == S3 | {"bucket": "my-images"}
    assert _shell(next(line for line in commands if "kubectl kustomize" in line))
    # helm knows the options, and then misses the cluster.
    upgrade = next(line for line in commands if " upgrade " in line)
    ran = subprocess.run(["bash", "-c", upgrade], cwd=chart.ROOT, env=_environment(), capture_output=True, text=True)
    assert "cluster" in ran.stderr and "unknown flag" not in ran.stderr, ran.stderr


def _environment():
    return os.environ | {"PATH": f"{chart.BIN}:{os.environ['PATH']}", "KUBECONFIG": "/dev/null"}


def _shell(command):
    ran = subprocess.run(["bash", "-c", command], cwd=chart.ROOT, env=_environment(), capture_output=True, text=True)
    assert ran.returncode == 0, (command, ran.stderr)
    return ran.stdout


CHECKS = [
    values_render,
    bad_values_are_refused,
    policies_find_what_is_wrong,
    alerts_and_versions_are_those_of_the_program,
    every_value_is_described,
    kustomize_is_current,
    examples_of_the_documents_render,
    commands_of_the_documents_are_right,
]
