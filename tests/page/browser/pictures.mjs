// Pictures of the views for the documents, of a registry as it may be.
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { PHONE, visit } from './browser.mjs';
import { assert, pounce, step } from './harness.mjs';
import { nginx, pushNginx } from './content.mjs';
import { digest, image, pull, pullBlob, pullManifest, push, upstream } from './images.mjs';

// The most bytes of a picture.
const MOST = 150_000;
const MB = 1_000_000;

export async function run(chromium, { program, folder }) {
  mkdirSync(folder, { recursive: true });
  const hub = await upstream();
  const nvidia = await upstream();
  const proxy = {
    remoteurl: hub.url,
    host: 'docker.io',
    prefetch: false,
    upstreams: [
      { host: 'nvcr.io', remoteurl: nvidia.url },
      { host: 'ghcr.io', remoteurl: hub.url },
    ],
  };
  const registry = await pounce(program, 'pictures', {
    proxy,
    auth: { anonymous: ['pull', 'push', 'delete'] },
    http: { host: 'https://registry.example.com', draintimeout: '1s' },
  });
  await step('pictures-content', async () => {
    for (const [name, tag] of [
      ['library/alpine', '3.22'],
      ['library/python', '3.13-slim'],
      ['library/postgres', '18'],
      ['vllm-project/vllm-openai', 'v0.11.0'],
    ]) {
      const it = nginx('1.28.0', 12_000 + 9000 * name.length);
      hub.add(name, tag, it);
      await pull(registry, name.startsWith('vllm') ? `ghcr.io/${name}` : name, tag);
    }
    await pushNginx(registry, 'library/nginx');
    for (const tag of ['v2.4.0', 'v2.4.1', 'v2.5.0', 'main']) await push(registry, 'team/api', tag, nginx(tag, 30_000));
    await push(registry, 'team/worker', 'main', nginx('main', 20_000));
    // What clients are redirected to counts as sent, whether they fetch it or not.
    const [layer] = (await pullManifest(registry, 'library/python', '3.13-slim')).manifests;
    const { layers } = await pullManifest(registry, 'library/python', layer.digest);
    for (let number = 0; number < 400; number += 1)
      await fetch(`${registry.url}/v2/library/python/blobs/${layers[1].digest}`, { redirect: 'manual' });
    for (const [of, name, host, tag, size, sent] of [
      [nvidia, 'nim/meta/llama-3.1-8b-instruct', 'nvcr.io/', '1.8.4', 136 * MB, 61 * MB],
      [hub, 'library/redis', '', '8.2', 41 * MB, 36 * MB],
    ]) {
      const content = Buffer.alloc(size);
      content.write(name);
      const it = image({ commands: [] });
      const manifest = JSON.parse(it.manifest);
      manifest.layers = [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: digest(content), size }];
      it.manifest = Buffer.from(JSON.stringify(manifest));
      it.blobs.push(content);
      of.add(name, tag, it);
      of.hold(digest(content), sent);
      await pullManifest(registry, `${host}${name}`, tag);
      // It ends with the registry.
      pullBlob(registry, `${host}${name}`, digest(content)).catch(() => {});
    }
  });
  const take = async (name, path, options) => {
    const { page, close } = await visit(chromium, registry.url, options);
    await page.goto(path);
    if (path === '/')
      await page.waitForFunction(
        () => [...document.querySelectorAll('.fills progress')].filter((bar) => bar.position > 0.4).length === 2,
      );
    const file = join(folder, `${name}.png`);
    await page.screenshot({ path: file, fullPage: options.fullPage ?? false, animations: 'disabled' });
    const { size } = statSync(file);
    assert(size <= MOST, `${name}.png has ${size} bytes`);
    await close();
  };
  await step('pictures', async () => {
    const wide = { viewport: { width: 1120, height: 820 } };
    await take('page', '/', wide);
    await take('page-dark', '/', { ...wide, colorScheme: 'dark' });
    await take('page-image', '/-/repositories/library/nginx/-/1.28', wide);
    await take('page-phone', '/', { viewport: PHONE });
  });
  hub.close();
  nvidia.close();
}
