// What the registries of the test have.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { artifact, digest, image, index, push } from './images.mjs';

// Of every user, and its bcrypt with the lowest cost.
export const PASSWORD = 'the password';
const HASH = '$2b$04$o97TyQADCSk2LmcRO.xwdevOYuf.vFnZxUiLsLX1Yf.nQY.7QNb0W';
export const htpasswd = (...users) => users.map((user) => `${user}:${HASH}`).join('\n');

// An image as people build it.
export function nginx(version, size = 40_000) {
  const commands = [
    ['/bin/sh -c #(nop) ADD file:7c5789fb822bda2652d7addee832c5a3d71733f0f94f97d89b0c5570c0840829 in / ', size],
    [`ENV NGINX_VERSION=${version}`, 0],
    [
      'RUN /bin/sh -c set -x && groupadd --system --gid 101 nginx && useradd --system --gid nginx nginx # buildkit',
      size * 2,
    ],
    ['COPY docker-entrypoint.sh / # buildkit', 1620],
    ['COPY 10-listen-on-ipv6-by-default.sh /docker-entrypoint.d # buildkit', 2125],
    ['EXPOSE map[80/tcp:{}]', 0],
    ['CMD ["nginx" "-g" "daemon off;"]', 0],
  ];
  const config = {
    Entrypoint: ['/docker-entrypoint.sh'],
    Cmd: ['nginx', '-g', 'daemon off;'],
    ExposedPorts: { '80/tcp': {} },
    Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', `NGINX_VERSION=${version}`],
    StopSignal: 'SIGQUIT',
    Labels: { maintainer: 'NGINX Docker Maintainers <docker-maint@nginx.com>' },
  };
  const annotations = {
    'org.opencontainers.image.title': 'nginx',
    'org.opencontainers.image.version': version,
    'org.opencontainers.image.source': 'https://github.com/nginx/docker-nginx',
    'org.opencontainers.image.licenses': 'BSD-2-Clause',
  };
  const of = (architecture) => image({ architecture, commands, config, annotations });
  return index([of('amd64'), of('arm64')], annotations);
}

// A repository with tags of several platforms, a signature and an SBOM.
export async function pushNginx(registry, name, user) {
  const stable = nginx('1.28.0');
  await push(registry, name, '1.28', stable, user);
  await push(registry, name, 'latest', nginx('1.29.3'), user);
  const [amd64] = stable.images;
  const signature = artifact(
    amd64,
    'application/vnd.dev.cosign.artifact.sig.v1+json',
    'application/vnd.dev.cosign.simplesigning.v1+json',
    '{"critical":{}}',
  );
  const sbom = artifact(amd64, 'application/spdx+json', 'application/spdx+json', '{"spdxVersion":"SPDX-2.3"}');
  await push(registry, name, undefined, signature, user);
  await push(registry, name, undefined, sbom, user);
  return { amd64: digest(amd64.manifest) };
}

export const SCRIPT = `<script>alert(1)</script><img src=x onerror=alert(1)>"'><a href="javascript:alert(1)">x</a>`;
export const LONG = 'w'.repeat(300);
export const TURNED = '\u202Etxt.exe\u2066\u200F\u0000\u0007';

// Everything that a pusher can write, written by one who means harm.
export function hostile() {
  const annotations = {
    [SCRIPT]: SCRIPT,
    [LONG]: LONG,
    [TURNED]: TURNED,
    'org.opencontainers.image.url': 'javascript:alert(document.domain)',
    'org.opencontainers.image.source': 'data:text/html,<script>alert(1)</script>',
    'org.opencontainers.image.documentation': 'https://elsewhere.example/"onmouseover=alert(1)',
    'org.opencontainers.image.title': '//elsewhere.example/x',
    empty: '',
    css: '</style><style>*{background:url(//elsewhere.example)}',
  };
  const commands = [
    [SCRIPT, 1000],
    [LONG, 1000],
    [TURNED, 1000],
    ['&lt;b&gt;', 0],
  ];
  const config = {
    Env: [`X=${SCRIPT}`, TURNED, LONG, '=', ''],
    Entrypoint: [SCRIPT, TURNED],
    Cmd: ['', ' '],
    Labels: annotations,
    User: SCRIPT,
    WorkingDir: LONG,
    ExposedPorts: { [SCRIPT]: {} },
  };
  return image({ os: SCRIPT, architecture: TURNED, commands, config, annotations, created: SCRIPT });
}

// The longest name of a repository that there is.
export const LONG_NAME = ['hostile', ...Array(10).fill('a-very-long-component'), 'x'.repeat(27)].join('/');

// Writes `count` repositories with one tag each below `many/`, and one with as many tags, as links to one manifest.
export async function many(registry, count) {
  const it = image({});
  await push(registry, 'many/tags', 'v0', it);
  const repositories = join(registry.root, 'docker/registry/v2/repositories');
  const link = digest(it.manifest);
  const write = (path) => {
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'link'), link);
  };
  for (let number = 0; number < count; number += 1) {
    const id = String(number).padStart(5, '0');
    write(join(repositories, `many/r${id}/_manifests/tags/v1/current`));
    write(join(repositories, 'many/tags/_manifests/tags', `t${id}`, 'current'));
  }
}
