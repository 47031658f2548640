// What is there, found by a mouse, by keys, and without scripts.
import { visit } from './browser.mjs';
import { assert, equal, step } from './harness.mjs';

const names = (page) => page.locator('table.list tbody th a').allInnerTexts();

export async function run(chromium, { registry, amd64 }) {
  for (const javaScriptEnabled of [true, false]) {
    const with_ = javaScriptEnabled ? '' : '-without-scripts';
    const { page, close } = await visit(chromium, registry.url, { javaScriptEnabled });
    await step(`browse-overview${with_}`, async () => {
      await page.goto('/');
      assert((await names(page)).includes('library/nginx'), await names(page));
    });
    await step(`browse-search${with_}`, async () => {
      await page.getByRole('searchbox', { name: 'Search repositories' }).fill('NGINX');
      await page.keyboard.press('Enter');
      await page.waitForURL(/q=NGINX/);
      equal(await names(page), ['library/nginx']);
      await page.getByRole('searchbox', { name: 'Search repositories' }).fill('<b>nothing');
      await page.keyboard.press('Enter');
      await page.getByText('No repository has this in its name.').waitFor();
    });
    await step(`browse-pages${with_}`, async () => {
      await page.goto('/?q=page');
      equal((await names(page)).length, 50);
      await page.getByRole('link', { name: 'Next page' }).click();
      await page.waitForURL(/last=/);
      equal(
        await names(page),
        Array.from({ length: 10 }, (_, index) => `pages/page-${String(50 + index).padStart(3, '0')}`),
      );
      await page.getByRole('link', { name: 'First page' }).click();
      await page.waitForURL((url) => !url.search.includes('last='));
    });
    await step(`browse-repository${with_}`, async () => {
      await page.goto('/?q=nginx');
      await page.getByRole('link', { name: 'library/nginx' }).click();
      equal((await names(page)).sort(), ['1.28', 'latest']);
      equal(await page.locator('tr', { hasText: '1.28' }).getByRole('listitem').allInnerTexts(), [
        'linux/amd64',
        'linux/arm64',
      ]);
    });
    await step(`browse-image${with_}`, async () => {
      await page.getByRole('link', { name: '1.28' }).click();
      await page.getByText(`docker pull ${new URL(registry.url).host}/library/nginx:1.28`).waitFor();
      await page.getByRole('link', { name: 'linux/amd64' }).click();
      await page.waitForURL(`**/${amd64}`);
      await page.getByText('groupadd --system --gid 101 nginx').waitFor();
      for (const kind of ['Signature', 'SBOM']) await page.getByRole('rowheader', { name: kind }).waitFor();
      const source = page.getByRole('link', { name: 'https://github.com/nginx/docker-nginx' }).first();
      assert(/noopener/.test(await source.getAttribute('rel')), 'a link to elsewhere has rel');
    });
    await step(`browse-nowhere${with_}`, async () => {
      const reply = await page.goto('/-/repositories/library/nginx/-/no-such-tag');
      equal(reply.status(), 404);
      await page.getByRole('heading', { level: 1 }).waitFor();
    });
    await step(`browse-nothing-bad${with_}`, close);
  }
  await copies(chromium, registry);
  await keys(chromium, registry);
}

async function copies(chromium, registry) {
  const permissions = ['clipboard-read', 'clipboard-write'];
  const { page, context, close } = await visit(chromium, registry.url, { permissions });
  const command = `docker pull ${new URL(registry.url).host}/library/nginx:latest`;
  const press = async () => {
    await page.goto('/-/repositories/library/nginx/-/latest');
    await page.getByRole('button', { name: `Copy ${command}`, exact: true }).click();
    await page.getByRole('status').getByText('Copied').waitFor({ state: 'attached' });
  };
  const pasted = async () => {
    const other = await context.newPage();
    await other.goto('/-/login');
    const text = await other.evaluate(() => navigator.clipboard.readText());
    await other.evaluate(() => navigator.clipboard.writeText(''));
    await other.close();
    return text;
  };
  await step('copy', async () => {
    await press();
    equal(await pasted(), command);
  });
  await step('copy-without-tls', async () => {
    // As over plain HTTP, where browsers have no clipboard for scripts.
    await page.addInitScript(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
    await press();
    equal(await pasted(), command);
  });
  await step('copy-nothing-bad', close);
}

async function keys(chromium, registry) {
  const { page, close } = await visit(chromium, registry.url);
  const focused = () =>
    page.evaluate(() => {
      const { outlineStyle, boxShadow } = getComputedStyle(document.activeElement);
      const text = document.activeElement.innerText || document.activeElement.id;
      return { text, isSeen: outlineStyle !== 'none' || boxShadow !== 'none' };
    });
  // Presses Tab until an element with this text has the focus, which has to be seen.
  const tabTo = async (text) => {
    for (let presses = 0; presses < 100; presses += 1) {
      await page.keyboard.press('Tab');
      const found = await focused();
      assert(found.isSeen, `the focus at ${found.text} is not seen`);
      if (found.text === text) return;
    }
    throw new Error(`no Tab leads to ${text}`);
  };
  await step('keys-skip-to-content', async () => {
    await page.goto('/');
    await tabTo('Skip to the content');
    await page.keyboard.press('Enter');
    equal(await page.evaluate(() => document.activeElement.id), 'content');
  });
  await step('keys-search-to-image', async () => {
    await page.goto('/');
    await tabTo('search');
    await page.keyboard.type('nginx');
    await page.keyboard.press('Enter');
    await page.waitForURL(/q=nginx/);
    await tabTo('library/nginx');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/library/nginx');
    await tabTo('latest');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/-/latest');
  });
  await step('keys-nothing-bad', close);
}
