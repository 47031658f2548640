// Live figures: a fill's bar moves while a slow upstream sends, for the users who may see it.
import { accessible, visit } from './browser.mjs';
import { equal, step, until } from './harness.mjs';
import { digest, image, pullBlob, pullManifest } from './images.mjs';

const SIZE = 4_000_000;

export async function run(chromium, { registry, upstream }) {
  const slow = image({ commands: [['COPY model /model', SIZE]] });
  const blob = digest(slow.blobs[1]);
  const id = `#fill-${blob.replace(':', '-')}`;
  const name = 'ghcr.io/acme/slow';
  upstream.add('acme/slow', '1', slow);
  upstream.hold(blob, SIZE / 4);
  const bar = (page) => page.locator(`${id} progress`);
  const at = (page, percent) =>
    page.waitForFunction(
      ([id, percent]) => Math.round(100 * document.querySelector(`${id} progress`)?.position) === percent,
      [id, percent],
    );

  const { page, close } = await visit(chromium, registry.url);
  await page.goto('/');
  let pulled;
  await step('live-fill-appears', async () => {
    await page.waitForSelector('html.is-live', { state: 'attached' });
    await pullManifest(registry, name, '1');
    pulled = pullBlob(registry, name, blob);
    await at(page, 25);
    await page.locator(id).getByText('1 client waits').waitFor();
    await page.getByText('76 of 100 requests left').waitFor();
    await accessible(chromium, page, 'a fill');
  });
  await step('live-bar-moves', async () => {
    await page.locator(`${id} a`).focus();
    upstream.hold(blob, SIZE / 2);
    await at(page, 50);
    equal(await page.evaluate(() => document.activeElement.closest('li')?.id), id.slice(1), 'the focus is at');
    upstream.hold(blob, (SIZE * 3) / 4);
    await at(page, 75);
  });
  await step('live-without-scripts', async () => {
    const { page, close } = await visit(chromium, registry.url, { javaScriptEnabled: false });
    await page.goto('/');
    equal(await bar(page).getAttribute('value'), String((SIZE * 3) / 4));
    upstream.hold(blob, (SIZE * 9) / 10);
    await until('the figures of a later load', async () => {
      await page.reload();
      return (await bar(page).getAttribute('value')) === String((SIZE * 9) / 10);
    });
    await close();
  });
  await step('live-hidden-tab-is-silent', async () => {
    await page.evaluate(() => {
      Object.defineProperty(document, 'hidden', { value: true, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await page.waitForSelector('html:not(.is-live)', { state: 'attached' });
    const [request] = await Promise.all([
      page.waitForRequest((request) => request.url().endsWith('/-/live')),
      page.evaluate(() => {
        delete document.hidden;
        document.dispatchEvent(new Event('visibilitychange'));
      }),
    ]);
    equal(request.resourceType(), 'eventsource');
    await page.waitForSelector('html.is-live', { state: 'attached' });
  });
  await step('live-fill-ends', async () => {
    upstream.release(blob);
    equal(await pulled, SIZE, 'bytes');
    await page.locator(id).waitFor({ state: 'detached' });
    await page.getByText('Nothing is being copied.').waitFor();
  });
  await step('live-nothing-bad', close);
}
