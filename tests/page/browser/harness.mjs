// Steps, the pounces that they need, and waiting.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// In memory where it can be: 20,000 repositories and tags take minutes to delete from some disks.
const parent = process.env.TMPDIR ?? (existsSync('/dev/shm') ? '/dev/shm' : tmpdir());
export const folder = mkdtempSync(join(parent, 'page.'));
const processes = [];
const failures = [];
let steps = 0;

// Runs a step; the next ones run in any case.
export async function step(name, work) {
  const began = Date.now();
  steps += 1;
  let said = 'ok';
  try {
    await work();
  } catch (error) {
    said = String(error?.message ?? error).split('\n')[0];
    failures.push([name, error?.stack ?? error]);
  }
  console.log(`${name.padEnd(36)} ${String(Date.now() - began).padStart(6)} ms  ${said.slice(0, 100)}`);
}

export function assert(is, what) {
  if (!is) throw new Error(what);
}

export function equal(found, expected, what = '') {
  const [a, b] = [found, expected].map((it) => JSON.stringify(it));
  assert(a === b, `${what} ${a} is not ${b}`);
}

// Polls what has no event. Returns what `reached` does.
export async function until(what, reached) {
  for (const end = Date.now() + 20_000; Date.now() < end; await new Promise((go) => setTimeout(go, 20))) {
    const found = await reached();
    if (found) return found;
  }
  throw new Error(`it never came to this: ${what}`);
}

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

// A pounce with these settings (YAML is JSON, too) over a folder of its own. `url` has no slash at its end.
export async function pounce(program, name, settings) {
  const port = await freePort();
  const root = join(folder, name);
  const { http = {}, ...others } = settings;
  const all = {
    version: 0.1,
    storage: { filesystem: { rootdirectory: root } },
    http: { ...http, addr: `127.0.0.1:${port}` },
    ...others,
  };
  const file = join(folder, `${name}.yml`);
  writeFileSync(file, JSON.stringify(all));
  const log = openSync(join(folder, `${name}.log`), 'w');
  const child = spawn(program, ['serve', file], { stdio: ['ignore', log, log], cwd: folder });
  processes.push({ child, name });
  const url = `http://127.0.0.1:${port}`;
  await until(`${name} listens`, () =>
    fetch(`${url}/healthz`).then(
      (reply) => reply.ok,
      () => false,
    ),
  );
  return { url, root, name };
}

export const logOf = (name) => readFileSync(join(folder, `${name}.log`), 'utf8');

// Ends what was started, and says how it went.
export async function verdict() {
  for (const { child } of processes) child.kill('SIGTERM');
  await Promise.all(processes.map(({ child }) => child.exitCode ?? new Promise((done) => child.once('exit', done))));
  await step('no-error-logged', () => {
    for (const { name } of processes)
      equal(
        logOf(name)
          .split('\n')
          .filter((line) => /ERROR|panicked/.test(line)),
        [],
        name,
      );
  });
  for (const [name, why] of failures) console.log(`failed: ${name}\n${why}`.replaceAll('\n', '\n    '));
  console.log(`page: ${steps - failures.length} passed, ${failures.length} failed`);
  if (!process.env.KEEP) rmSync(folder, { recursive: true, force: true });
  else console.log(`kept: ${folder}`);
  process.exitCode = failures.length > 0 ? 1 : 0;
}
