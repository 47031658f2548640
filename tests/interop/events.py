#!/usr/bin/env python3
"""The receiver of events.sh, requests that cause each kind of event, and the comparison.

usage: events.py receive PORT DIRECTORY | requests ADDRESS | compare DIRECTORY DISTRIBUTION POUNCE LEAST
"""
import difflib
import hashlib
import http.client
import http.server
import json
import pathlib
import re
import sys
import time
import uuid

OCI = 'application/vnd.oci.image.manifest.v1+json'
DOCKER = 'application/vnd.docker.distribution.manifest.v2+json'
INDEX = 'application/vnd.oci.image.index.v1+json'
ALL = ', '.join([OCI, DOCKER, INDEX])


def receive(port, directory):
    """Appends each envelope with its headers to the file that has the name of the path."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_POST(self):
            envelope = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
            with open(pathlib.Path(directory, self.path.strip('/')), 'a') as file:
                file.write(json.dumps([self.headers.items(), envelope]) + '\n')
            self.send_response(200)
            self.send_header('Content-Length', '0')
            self.end_headers()

    http.server.ThreadingHTTPServer(('127.0.0.1', int(port)), Handler).serve_forever()


def digest(content):
    return 'sha256:' + hashlib.sha256(content).hexdigest()


def requests(address):
    def request(expected, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(address)
        headers = {name.replace('_', '-'): value for name, value in headers.items()}
        connection.request(method, path, body, {'User-Agent': 'interop/1 <&>', **headers})
        answer = connection.getresponse()
        if method != 'HEAD':
            answer.read()
        assert answer.status in ([expected] if isinstance(expected, int) else expected), (method, path, answer.status)
        return answer.headers.get('Location')

    def push(repository, blob):
        location = request(202, 'POST', f'/v2/{repository}/blobs/uploads/')
        location = re.sub('^http://[^/]*', '', location)
        separator = '&' if '?' in location else '?'
        request(201, 'PUT', f'{location}{separator}digest={digest(blob)}', blob)

    def descriptor(media_type, content, **further):
        return {'mediaType': media_type, 'digest': digest(content), 'size': len(content), **further}

    def put(reference, manifest, media_type):
        content = json.dumps(manifest).encode()
        request(201, 'PUT', f'/v2/a/b/manifests/{reference or digest(content)}', content, Content_Type=media_type)
        return content

    config, layer = b'{"architecture":"amd64","os":"linux"}', b'a layer' * 100
    push('a/b', config)
    push('a/b', layer)
    push('a/b', layer)
    image = {
        'schemaVersion': 2, 'mediaType': OCI, 'config': descriptor('application/vnd.oci.image.config.v1+json', config),
        'layers': [descriptor('application/vnd.oci.image.layer.v1.tar', layer, annotations={'k': 'v'})],
        'annotations': {'x': 'y'},
    }
    oci = put('t', image, OCI)
    put('u', image, OCI)
    put(None, image, OCI)
    put('d', {
        'schemaVersion': 2, 'mediaType': DOCKER,
        'config': descriptor('application/vnd.docker.container.image.v1+json', config),
        'layers': [descriptor('application/vnd.docker.image.rootfs.diff.tar.gzip', layer)],
    }, DOCKER)
    platform = {'architecture': 'arm', 'os': 'linux', 'os.features': ['f'], 'variant': 'v7'}
    put('i', {
        'schemaVersion': 2, 'mediaType': INDEX,
        'manifests': [descriptor(OCI, oci, platform=platform, annotations={'k': 'v'})],
    }, INDEX)
    for method in ['HEAD', 'GET']:
        for reference in ['t', digest(oci), 'i', 'd']:
            request(200, method, f'/v2/a/b/manifests/{reference}', Accept=ALL)
    # No events.
    request(304, 'GET', '/v2/a/b/manifests/t', Accept=ALL, If_None_Match=f'"{digest(oci)}"')
    request(404, 'GET', '/v2/a/b/manifests/none', Accept=ALL)
    request(404, 'HEAD', f'/v2/a/b/blobs/{digest(b"none")}')
    request(200, 'GET', '/v2/_catalog')
    request(200, 'GET', '/v2/a/b/tags/list')
    blob = f'/v2/a/b/blobs/{digest(layer)}'
    request(200, 'HEAD', blob)
    # distribution has no redirect over a folder.
    request([200, 307], 'GET', blob)
    request([206, 307], 'GET', blob, Range='bytes=0-9')
    mount = f'/v2/c/d/blobs/uploads/?mount={digest(layer)}&from=a/b'
    request(201, 'POST', mount)
    request(201, 'POST', mount)
    request(202, 'POST', f'/v2/c/d/blobs/uploads/?mount={digest(b"none")}&from=a/b')
    request(202, 'DELETE', f'/v2/a/b/manifests/{digest(oci)}')
    request(404, 'DELETE', f'/v2/a/b/manifests/{digest(oci)}')
    request(202, 'DELETE', blob)


def normalised(line, address):
    headers, envelope = json.loads(line)
    kept = [[name.lower(), value] for name, value in headers if name.lower() in ['content-type', 'x-a']]
    assert len(envelope['events']) == 1, envelope
    event = envelope['events'][0]
    for holder, key in [(event, 'id'), (event['request'], 'id'), (event['source'], 'instanceID')]:
        holder[key] = str(uuid.UUID(holder[key])) and 'a UUID'
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(Z|[+-]\d\d:\d\d)', event['timestamp']), event
    event['timestamp'] = 'a time'
    event['request']['addr'] = re.sub(r':\d+$', ':port', event['request']['addr'])
    event['source']['addr'] = event['source']['addr'].replace(address.split(':')[1], 'port')
    event['request']['host'] = event['request']['host'].replace(address, 'registry')
    if 'url' in event['target']:
        event['target']['url'] = event['target']['url'].replace(address, 'registry')
    return json.dumps([sorted(kept), event], sort_keys=True)


def compare(directory, distribution, pounce, least):
    """Compares the events in their order. Those of real clients are sorted, because they push several blobs at once."""
    files = [pathlib.Path(directory, name) for name in ['distribution', 'pounce']]
    # All events are there when none came for a moment.
    before = None
    while before != (before := [file.stat().st_size for file in files if file.exists()]):
        time.sleep(.5)
    theirs, ours = ([normalised(line, address) for line in (file.read_text() if file.exists() else '').splitlines()]
                    for file, address in zip(files, [distribution, pounce]))
    for file in files:
        file.unlink(missing_ok=True)
    if not any('interop/1' in event for event in theirs):
        theirs, ours = sorted(theirs), sorted(ours)
    difference = difflib.unified_diff(theirs, ours, 'distribution', 'pounce', n=0, lineterm='')
    different = '\n'.join(difference)
    if different or len(ours) < int(least):
        sys.exit(f'{different}\ndistribution sent {len(theirs)} events, pounce {len(ours)}, not at least {least}')
    print(f'{len(ours)} events are the same')


if __name__ == '__main__':
    {'receive': receive, 'requests': requests, 'compare': compare}[sys.argv[1]](*sys.argv[2:])
