"""What has to hold for every set of documents, beyond Kubernetes' schemas."""

import functools
import json
import re

import kubernetes_validate

# The lowest version that the chart names, and the newest.
VERSIONS = ["1.30", "1.37"]
# Kinds that a cluster gets from others, whose schemas are not Kubernetes': the keys that their specs may have.
FOREIGN = {
    "HTTPRoute": {"parentRefs", "hostnames", "rules"},
    "ServiceMonitor": {"selector", "endpoints", "namespaceSelector", "jobLabel"},
    "PrometheusRule": {"groups"},
}
WORKLOADS = ["Deployment", "DaemonSet"]
SECRET = re.compile("SECRET|PASSWORD|TOKEN|KEY$")


def mistakes(documents):
    """What is wrong, in sentences."""
    return [f"{one}: {what}" for one, what in _mistakes(documents)]


def _mistakes(documents):
    names = [_name(one) for one in documents]
    for name in set(names):
        if names.count(name) > 1:
            yield name, "is there twice"
    for one in documents:
        yield from ((_name(one), what) for what in _schema(json.dumps(one)))
        yield from ((_name(one), what) for what in _references(one, documents))
        if pod := pod_of(one):
            yield from ((_name(one), what) for what in _pod(pod, documents))
            yield from ((_name(one), what) for container in pod["containers"] for what in _container(container, pod))


def _name(document):
    return f"{document['kind']} {document['metadata']['name']}"


def pod_of(document):
    """The spec of a document's pods, if it has any."""
    return document["spec"] if document["kind"] == "Pod" else document.get("spec", {}).get("template", {}).get("spec")


@functools.cache
def _schema(text):
    document = json.loads(text)
    if document["kind"] in FOREIGN:
        unknown = set(document["spec"]) - FOREIGN[document["kind"]]
        return [f"its spec has {unknown}"] if unknown else []
    try:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"Kubernetes {version}: {error.message} at {list(error.path)}"]
    return []


def _pod(pod, documents):
    security = pod.get("securityContext", {})
    if pod.get("automountServiceAccountToken") is not False:
        yield "a token of the API is mounted"
    if pod.get("enableServiceLinks") is not False:
        yield "Services become variables"
    if not security.get("runAsNonRoot") or security.get("runAsUser") != 65532 or security.get("fsGroup") != 65532:
        yield "it does not run as the image's user"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "it has no seccomp profile"
    for volume in pod.get("volumes", []):
        if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
            yield f"the emptyDir {volume['name']} has no limit"
        config = volume.get("configMap", {}).get("name")
        if config and not volume["name"].startswith("own-") and config not in _names(documents, "ConfigMap"):
            yield f"there is no ConfigMap {config}"
    # Without a name, it is the namespace's own, which has no credentials.
    account = pod.get("serviceAccountName", "default")
    if account not in _names(documents, "ServiceAccount") | {"default"}:
        yield f"there is no ServiceAccount {account}"


def _names(documents, kind):
    return {one["metadata"]["name"] for one in documents if one["kind"] == kind}


def _container(container, pod):
    security, resources = container.get("securityContext", {}), container.get("resources", {})
    if not security.get("readOnlyRootFilesystem"):
        yield "its root can be written"
    if security.get("allowPrivilegeEscalation") is not False or security.get("capabilities") != {"drop": ["ALL"]}:
        yield "it can get privileges"
    if "memory" not in resources.get("limits", {}) or not {"cpu", "memory"} <= set(resources.get("requests", {})):
        yield "its resources are not bounded"
    if container["image"].endswith(":latest") or not re.search("[:@]", container["image"]):
        yield "its image has no version"
    for variable in container.get("env", []):
        if SECRET.search(variable["name"]) and "/" not in variable.get("value", "/"):
            yield f"{variable['name']} is in plain text"
    ports = [port["name"] for port in container.get("ports", [])]
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"]:
        if container.get(probe, {}).get("httpGet", {}).get("port", "http") not in ports and ports:
            yield f"{probe} asks a port that is not there"
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
    if volumes != mounts:
        yield f"volumes and mounts differ: {volumes ^ mounts}"
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = [one["value"] for one in container.get("env", []) if one["name"] == "REGISTRY_HTTP_DRAINTIMEOUT"]
    if drain and pod["terminationGracePeriodSeconds"] < before + int(drain[0].removesuffix("s")) + 5:
        yield "it is killed before it has drained"


def _references(one, documents):
    """Selectors select what they are for, and ports have the names that others use."""
    kind, spec = one["kind"], one.get("spec", {})
    workloads = [other for other in documents if other["kind"] in WORKLOADS]

    def selected(labels):
        return [
            other for other in workloads if labels.items() <= other["spec"]["template"]["metadata"]["labels"].items()
        ]

    def ports(workload):
        return {port["name"] for container in pod_of(workload)["containers"] for port in container["ports"]}

    selector = {"Service": spec.get("selector"), "NetworkPolicy": spec.get("podSelector", {}).get("matchLabels")}.get(
        kind, spec.get("selector", {}).get("matchLabels") if kind in [*WORKLOADS, "PodDisruptionBudget"] else None
    )
    used = []
    if selector is not None:
        found = selected(selector)
        if len(found) != 1:
            return [f"it selects {len(found)} workloads"]
        used = [port["targetPort"] for port in spec.get("ports", [])] if kind == "Service" else []
        used += [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
        used = [port for port in used if port not in ports(found[0])]
    if kind in WORKLOADS:
        for spread in pod_of(one).get("topologySpreadConstraints", []):
            if selected(spread["labelSelector"]["matchLabels"]) != [one]:
                return ["it is spread over other pods"]
    if kind == "Deployment":
        scaled = any(other["kind"] == "HorizontalPodAutoscaler" for other in documents)
        if scaled == ("replicas" in spec):
            return ["replicas and an autoscaler exclude each other"]
        if not scaled and spec["replicas"] < 1:
            return ["it has no replicas"]
    if kind == "PodDisruptionBudget" and (spec.get("maxUnavailable") in (0, "0%", None) or "minAvailable" in spec):
        return ["no node can be drained"]
    if kind == "HorizontalPodAutoscaler" and spec["scaleTargetRef"]["name"] not in _names(documents, "Deployment"):
        return ["it scales nothing"]
    services = {
        (other["metadata"]["name"], port[key])
        for other in documents
        if other["kind"] == "Service"
        for port in other["spec"]["ports"]
        for key in ["name", "port"]
    }
    if kind == "Ingress":
        backends = [path["backend"]["service"] for rule in spec["rules"] for path in rule["http"]["paths"]]
        used += [it["name"] for it in backends if (it["name"], it["port"]["name"]) not in services]
    if kind == "HTTPRoute":
        backends = [backend for rule in spec["rules"] for backend in rule["backendRefs"]]
        used += [it["name"] for it in backends if (it["name"], it["port"]) not in services]
    if kind == "ServiceMonitor":
        labels = spec["selector"]["matchLabels"].items()
        if len([it for it in documents if it["kind"] == "Service" and labels <= it["metadata"]["labels"].items()]) != 1:
            return ["it does not select one Service"]
        used += [it["port"] for it in spec["endpoints"] if not any(port == it["port"] for _, port in services)]
    return [f"there is no port {port}" for port in used]
