#!/usr/bin/env python3
"""Two registry clients from PyPI push artifacts, list tags by pages, pull and delete.
usage: foreign.py oras|dxf http[s]://HOST:PORT [USER PASSWORD]
"""
import hashlib
import json
import os
import sys
import warnings

client, (scheme, _, host), login = sys.argv[1], sys.argv[2].partition("://"), sys.argv[3:]
secure = scheme == "https"
warnings.filterwarnings("ignore")
# More than the chunk of oras, 16 MiB.
CONTENT = os.urandom(20_000_000)


def with_oras():
    import oras.client

    registry = oras.client.OrasClient(hostname=host, insecure=not secure, tls_verify=secure)
    if login:
        registry.login(*login, hostname=host)
    with open("artifact", "wb") as file:
        file.write(CONTENT)
    for tag, chunked in [("1", False), ("2", True)]:
        target = f"{host}/public/oras:{tag}"
        # Another manifest for each tag, because oras deletes the manifest.
        with open("annotations.json", "w") as file:
            json.dump({"artifact": {"tag": tag}}, file)
        registry.push(target, files=["artifact"], do_chunked=chunked, annotation_file="annotations.json")
        [path] = registry.pull(target, outdir=f"pulled.{tag}")
        assert open(path, "rb").read() == CONTENT
    assert registry.get_tags(f"{host}/public/oras") == ["1", "2"]
    assert registry.delete_tags(f"{host}/public/oras", ["2"]) == ["2"]
    assert registry.get_tags(f"{host}/public/oras") == ["1"]


def with_dxf():
    import dxf

    def authenticate(registry, response):
        registry.authenticate(*login, response=response)

    options = {"auth": authenticate if login else None, "insecure": not secure}
    options["tlsverify"] = os.environ.get("REQUESTS_CA_BUNDLE")
    repository = dxf.DXF(host, "public/dxf", **options)
    with open("blob", "wb") as file:
        file.write(CONTENT)
    digest = repository.push_blob("blob")
    assert digest == "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    for alias in "abc":
        repository.set_alias(alias, digest)
    assert list(repository.list_aliases(batch_size=1, iterate=True)) == ["a", "b", "c"]
    assert repository.get_alias("b") == [digest]
    assert b"".join(repository.pull_blob(digest)) == CONTENT
    dxf.DXF(host, "public/mounted", **options).mount_blob("public/dxf", digest)
    assert "public/dxf" in dxf.DXFBase(host, **options).list_repos(batch_size=1, iterate=True)
    # The three aliases are one manifest.
    repository.del_alias("a")
    assert repository.list_aliases() == []


{"oras": with_oras, "dxf": with_dxf}[client]()
