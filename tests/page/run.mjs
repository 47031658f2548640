// usage: node run.mjs POUNCE MODULES [PICTURES]: MODULES has node_modules with playwright-core and axe-core; PICTURES is
// where pictures of the views go.
import { start } from './browser.mjs';
import { pounce, verdict } from './harness.mjs';
import { upstream } from './images.mjs';
import * as live from './live.mjs';

const [program, modules, pictures] = process.argv.slice(2);
const chromium = await start(modules);
const slow = await upstream();
const upstreams = [{ host: 'ghcr.io', remoteurl: slow.url }];
const registry = await pounce(program, 'open', { proxy: { upstreams, prefetch: false } , auth: { anonymous: ['pull', 'push', 'delete'] } });
try {
  await live.run(chromium, { registry, upstream: slow });
} finally {
  await chromium.browser.close();
  slow.close();
  void pictures;
  await verdict();
}
