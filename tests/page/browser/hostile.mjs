// Names, annotations and commands of pushers who mean harm, and what one view shows of very much.
import { PHONE, accessible, visit } from './browser.mjs';
import { assert, equal, step } from './harness.mjs';
import { LONG, LONG_NAME, SCRIPT, hostile, many } from './content.mjs';
import { artifact, digest, index, push } from './images.mjs';

export async function run(chromium, { registry }) {
  const bad = hostile();
  const paths = [
    '/?q=hostile',
    `/-/repositories/${LONG_NAME}`,
    `/-/repositories/${LONG_NAME}/-/v1`,
    '/-/repositories/hostile/image',
    `/-/repositories/hostile/image/-/${digest(bad.manifest)}`,
    `/-/repositories/hostile/image/-/${'a'.repeat(128)}/delete`,
    '/-/repositories/hostile/index/-/v1',
    '/-/repositories/hostile/garbage',
    '/-/repositories/hostile/garbage/-/v1',
    `/?q=${encodeURIComponent(SCRIPT)}`,
    `/?q=${encodeURIComponent(LONG)}&last=${encodeURIComponent(SCRIPT)}`,
    `/-/login?next=${encodeURIComponent('//elsewhere.example')}`,
    `/-/login?next=${encodeURIComponent(SCRIPT)}`,
  ];
  await step('hostile-push', async () => {
    equal(LONG_NAME.length, 255);
    await push(registry, LONG_NAME, 'v1', bad);
    await push(registry, 'hostile/image', 'a'.repeat(128), bad);
    await push(registry, 'hostile/index', 'v1', index([bad, { ...bad }], { [SCRIPT]: LONG }));
    await push(
      registry,
      'hostile/image',
      undefined,
      artifact(bad, 'application/x', 'application/x', SCRIPT, { [SCRIPT]: SCRIPT }),
    );
    await push(registry, 'hostile/garbage', 'v1', { blobs: [Buffer.from('not JSON'), Buffer.from('x')], ...garbage() });
  });
  const { page, close } = await visit(chromium, registry.url, { viewport: PHONE });
  await step('hostile-texts-are-texts', async () => {
    for (const path of paths) {
      const reply = await page.goto(path);
      equal(reply.status(), 200, path);
      const foreign =
        'main :is(script, style, img, iframe, object, embed, base, meta, [onerror], [onmouseover], [style])';
      equal(await page.locator(foreign).count(), 0, path);
      const links = await page.locator('main a').evaluateAll((all) => all.map((it) => it.href));
      equal(
        links.filter((link) => !/^https?:/.test(link)),
        [],
        path,
      );
      await accessible(chromium, page, path);
    }
  });
  await step('hostile-nothing-bad', close);
}

// A manifest whose configuration is no configuration.
function garbage() {
  const described = (text) => ({
    mediaType: 'application/vnd.oci.image.config.v1+json',
    digest: digest(Buffer.from(text)),
    size: text.length,
  });
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: described('not JSON'),
    layers: [described('x')],
  };
  return { manifest: Buffer.from(JSON.stringify(manifest)), mediaType: manifest.mediaType };
}

const COUNT = 10_000;

export async function lots(chromium, { registry }) {
  await many(registry, COUNT);
  const { page, close } = await visit(chromium, registry.url);
  const rows = page.locator('table.list tbody tr');
  await step('many-repositories', async () => {
    await page.goto('/');
    equal(await rows.count(), 50);
    assert((await page.content()).length < 100_000, 'the page is too large');
    await page.getByRole('link', { name: 'Next page' }).click();
    await page.getByText('many/r00050').waitFor();
    equal(await rows.count(), 50);
    await page.goto('/?q=r0987');
    equal(await rows.count(), 10);
  });
  await step('many-tags', async () => {
    await page.goto('/-/repositories/many/tags');
    equal(await rows.count(), 50);
    await page.getByRole('link', { name: 'Next page' }).click();
    await page.waitForURL(/last=/);
    equal(await rows.count(), 50);
    await page.goto('/-/repositories/many/tags/-/t09999');
    await page.getByRole('heading', { level: 1 }).waitFor();
  });
  await step('many-nothing-bad', close);
}
