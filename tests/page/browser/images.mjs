// Images, pushes of them, and an upstream that sends no faster than a step says.
import { createHash, randomBytes } from 'node:crypto';
import { once, EventEmitter } from 'node:events';
import { createServer } from 'node:http';
import { Readable } from 'node:stream';

export const TYPES = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
};

export const digest = (content) => `sha256:${createHash('sha256').update(content).digest('hex')}`;
const json = (value) => Buffer.from(JSON.stringify(value));
const described = (mediaType, content, more = {}) => ({
  mediaType,
  digest: digest(content),
  size: content.length,
  ...more,
});

// An image: a layer for each of `commands`, which are [command, bytes]; 0 bytes are no layer.
export function image({
  os = 'linux',
  architecture = 'amd64',
  commands = [['COPY app /app', 2000]],
  config = {},
  annotations,
  created = '2026-11-20T09:30:00Z',
}) {
  const layers = commands.filter(([, size]) => size > 0).map(([, size]) => randomBytes(size));
  const history = commands.map(([created_by, size]) => ({
    created,
    created_by,
    ...(size > 0 ? {} : { empty_layer: true }),
  }));
  const rootfs = { type: 'layers', diff_ids: layers.map(digest) };
  const configuration = json({ created, os, architecture, config, rootfs, history });
  const manifest = json({
    schemaVersion: 2,
    mediaType: TYPES.manifest,
    config: described(TYPES.config, configuration),
    layers: layers.map((layer) => described(TYPES.layer, layer)),
    ...(annotations ? { annotations } : {}),
  });
  return { blobs: [configuration, ...layers], manifest, mediaType: TYPES.manifest, platform: { os, architecture } };
}

// An index of images.
export function index(images, annotations) {
  const manifests = images.map((it) => described(it.mediaType, it.manifest, { platform: it.platform }));
  const manifest = json({
    schemaVersion: 2,
    mediaType: TYPES.index,
    manifests,
    ...(annotations ? { annotations } : {}),
  });
  return { blobs: [], manifest, mediaType: TYPES.index, images };
}

// Something that belongs to `subject`: a signature, an SBOM.
export function artifact(subject, artifactType, layerType, content, annotations = {}) {
  const empty = Buffer.from('{}');
  const layer = Buffer.from(content);
  const manifest = json({
    schemaVersion: 2,
    mediaType: TYPES.manifest,
    artifactType,
    config: described('application/vnd.oci.empty.v1+json', empty),
    layers: [described(layerType, layer)],
    subject: described(subject.mediaType, subject.manifest),
    annotations,
  });
  return { blobs: [empty, layer], manifest, mediaType: TYPES.manifest };
}

const basic = (user) => (user ? { authorization: `Basic ${Buffer.from(user).toString('base64')}` } : {});

// Pushes an image, and those of an index; `user` is `name:password`.
export async function push({ url }, name, reference, it, user) {
  const send = async (method, path, type, body) => {
    const headers = { 'content-type': type, ...basic(user) };
    const reply = await fetch(`${url}/v2/${name}/${path}`, { method, headers, body });
    if (reply.status !== 201) throw new Error(`${method} ${name}/${path}: ${reply.status} ${await reply.text()}`);
  };
  for (const child of it.images ?? []) await push({ url }, name, digest(child.manifest), child, user);
  for (const blob of it.blobs)
    await send('POST', `blobs/uploads/?digest=${digest(blob)}`, 'application/octet-stream', blob);
  await send('PUT', `manifests/${reference ?? digest(it.manifest)}`, it.mediaType, it.manifest);
}

// Pulls a manifest and returns it.
export async function pullManifest({ url }, name, reference, user) {
  const accept = [TYPES.manifest, TYPES.index].join(', ');
  const reply = await fetch(`${url}/v2/${name}/manifests/${reference}`, { headers: { accept, ...basic(user) } });
  if (reply.status !== 200) throw new Error(`${name}/${reference}: ${reply.status} ${await reply.text()}`);
  return reply.json();
}

// Pulls a blob, as whatever comes, and returns how many bytes came.
export async function pullBlob({ url }, name, blob, user) {
  const reply = await fetch(`${url}/v2/${name}/blobs/${blob}`, { headers: basic(user) });
  if (reply.status !== 200) throw new Error(`${name}/${blob}: ${reply.status} ${await reply.text()}`);
  return (await reply.arrayBuffer()).byteLength;
}

export async function pull(registry, name, reference, user) {
  const manifest = await pullManifest(registry, name, reference, user);
  for (const child of manifest.manifests ?? []) await pull(registry, name, child.digest, user);
  const blobs = manifest.layers ? [manifest.config, ...manifest.layers] : [];
  for (const blob of blobs) await pullBlob(registry, name, blob.digest, user);
}

// An upstream. It sends of a blob that is `held` only as many bytes as were released.
export async function upstream() {
  const manifests = new Map();
  const blobs = new Map();
  const held = new Map();
  const released = new EventEmitter().setMaxListeners(0);

  const pieces = async function* (name, content) {
    for (let sent = 0; sent < content.length;) {
      const most = held.get(name) ?? content.length;
      if (sent < most) {
        const piece = content.subarray(sent, Math.min(most, sent + 65_536));
        yield piece;
        sent += piece.length;
      } else {
        await once(released, 'more');
      }
    }
  };
  const server = createServer((request, response) => {
    const [, name, kind, reference] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(request.url) ?? [];
    const found = kind === 'manifests' ? manifests.get(`${name}/${reference}`) : blobs.get(reference);
    if (request.url === '/v2/') return response.writeHead(200).end();
    if (!found) {
      response.writeHead(404, { 'content-type': 'application/json' });
      return response.end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"it is not here"}]}');
    }
    const { content, type } = found;
    response.writeHead(200, {
      'content-type': type,
      'content-length': content.length,
      'docker-content-digest': digest(content),
      'ratelimit-limit': '100;w=21600',
      'ratelimit-remaining': '76;w=21600',
    });
    if (request.method === 'HEAD') return response.end();
    return Readable.from(pieces(reference, content)).pipe(response);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));

  const add = (name, reference, it) => {
    for (const child of it.images ?? []) add(name, digest(child.manifest), child);
    for (const content of it.blobs) blobs.set(digest(content), { content, type: 'application/octet-stream' });
    for (const key of [reference, digest(it.manifest)])
      manifests.set(`${name}/${key}`, { content: it.manifest, type: it.mediaType });
  };
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    add,
    // From now on, no more than so many bytes of a blob are sent.
    hold: (blob, bytes) => {
      held.set(blob, bytes);
      released.emit('more');
    },
    release: (blob) => {
      held.delete(blob);
      released.emit('more');
    },
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
