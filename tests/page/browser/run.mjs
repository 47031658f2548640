// The page in chromium.
//
// usage: node run.mjs POUNCE MODULES [PICTURES]: MODULES has node_modules with playwright-core and axe-core; PICTURES
// is where the pictures of the views go, if not to a folder that is deleted. ONLY=live,login runs some chapters.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { start } from './browser.mjs';
import * as browse from './browse.mjs';
import { htpasswd, nginx, pushNginx } from './content.mjs';
import { folder, pounce, step, verdict } from './harness.mjs';
import * as hostile from './hostile.mjs';
import { image, push, upstream } from './images.mjs';
import * as live from './live.mjs';
import * as login from './login.mjs';
import * as pictures from './pictures.mjs';
import * as views from './views.mjs';

const [program, modules, shown = folder] = process.argv.slice(2);
const all = ['pull', 'push', 'delete'];
const only = process.env.ONLY?.split(',');
const chapter = async (name, work) => (only && !only.includes(name) ? undefined : work());

const chromium = await start(modules);
const slow = await upstream();
try {
  const proxy = { upstreams: [{ host: 'ghcr.io', remoteurl: slow.url }], prefetch: false };
  const registry = await pounce(program, 'open', { proxy, auth: { anonymous: all } });
  const passwords = join(folder, 'htpasswd');
  writeFileSync(passwords, htpasswd('admin', 'ci-1'));
  const users = await pounce(program, 'users', {
    auth: {
      htpasswd: { path: passwords },
      rules: [
        { users: ['anonymous'], repositories: ['public/**'], actions: ['pull'] },
        { users: ['ci-*'], repositories: ['team/**'], actions: ['pull', 'push'] },
        { users: ['admin'], actions: all },
      ],
    },
  });
  let amd64;
  await step('content', async () => {
    ({ amd64 } = await pushNginx(registry, 'library/nginx'));
    const small = image({});
    for (let number = 0; number < 60; number += 1)
      await push(registry, `pages/page-${String(number).padStart(3, '0')}`, 'v1', small);
    for (const [name, tag] of [
      ['public/site', 'v1'],
      ['team/api', 'v1'],
      ['team/api', 'old'],
      ['secret/keys', 'v1'],
    ]) {
      await push(users, name, tag, nginx('1.28.0', 500), 'admin:the password');
    }
  });
  await chapter('browse', () => browse.run(chromium, { registry, amd64 }));
  await chapter('live', () => live.run(chromium, { registry, upstream: slow }));
  await chapter('views', () => views.run(chromium, { registry, users, amd64 }));
  // The last one of the users: it takes one away.
  await chapter('login', () => login.run(chromium, { registry: { ...users, passwords } }));
  await chapter('hostile', () => hostile.run(chromium, { registry }));
  await chapter('many', async () =>
    hostile.lots(chromium, { registry: await pounce(program, 'many', { auth: { anonymous: all } }) }),
  );
  await chapter('pictures', () => pictures.run(chromium, { program, folder: shown }));
} finally {
  await chromium.browser.close();
  slow.close();
  await verdict();
}
