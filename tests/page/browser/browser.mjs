// Chromium, and what no view may do: run foreign code, load from elsewhere, break its own policy.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { assert, equal } from './harness.mjs';

export async function start(modules) {
  const require = createRequire(join(modules, 'from-here.js'));
  const { chromium } = require('playwright-core');
  const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  return { browser, axe };
}

// A page of a browser that has no cookies yet. `watched` collects what must not happen.
export async function visit({ browser }, origin, options = {}) {
  const context = await browser.newContext({ baseURL: origin, ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const watched = [];
  page.on('dialog', (dialog) => {
    watched.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('pageerror', (error) => watched.push(`an error: ${error.message}`));
  page.on('popup', () => watched.push('a window'));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith('data:'))
      watched.push(`elsewhere: ${request.url()}`);
  });
  page.on('console', (message) => {
    // An answer of 4xx and 5xx, which a step asked for, is logged, too.
    const isAnswer = message.text().startsWith('Failed to load resource: the server responded');
    if (['error', 'warning'].includes(message.type()) && !isAnswer) watched.push(`the console: ${message.text()}`);
  });
  const close = async () => {
    await context.close();
    equal(watched, [], 'the browser saw');
  };
  return { page, context, watched, close };
}

// Every rule of axe-core that is one of WCAG 2.2 AA or a good practice.
export async function accessible({ axe }, page, what) {
  // The policy forbids scripts from elsewhere; what a debugger evaluates is not asked.
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ['violations', 'passes'] }),
  );
  const said = violations.map(
    ({ id, help, nodes }) =>
      `${id}: ${help}: ${nodes
        .slice(0, 3)
        .map((node) => node.html)
        .join(' ')}`,
  );
  equal(said, [], what);
  assert(passes.length > 10, `${what}: axe-core found nothing to look at`);
  const wide = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    const isWide = (it) => it.getBoundingClientRect().right > clientWidth;
    return [...document.querySelectorAll('main *')]
      .filter(isWide)
      .map((it) => it.outerHTML.slice(0, 100))
      .slice(0, 5);
  });
  equal(wide, [], `${what}: wider than the window`);
}

export const WIDE = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };
