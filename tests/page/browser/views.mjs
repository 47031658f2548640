// Every view in light and dark, wide and on a phone: axe-core finds nothing, and nothing is wider than the window.
import { PHONE, WIDE, accessible, visit } from './browser.mjs';
import { step } from './harness.mjs';
import { PASSWORD } from './content.mjs';

export async function run(chromium, { registry, users, amd64 }) {
  const nginx = '/-/repositories/library/nginx';
  const views = [
    [registry, '/'],
    [registry, '/?q=nothing-has-this'],
    [registry, '/?q=page'],
    [registry, nginx],
    [registry, `${nginx}/-/latest`],
    [registry, `${nginx}/-/${amd64}`],
    [registry, `${nginx}/-/latest/delete`],
    [registry, `${nginx}/-/no-such-tag`],
    [users, '/'],
    [users, '/-/login'],
    [users, '/-/repositories/team/api'],
  ];
  for (const colorScheme of ['light', 'dark']) {
    for (const [size, viewport] of [
      ['wide', WIDE],
      ['phone', PHONE],
    ]) {
      await step(`views-${colorScheme}-${size}`, async () => {
        for (const of of [registry, users]) {
          const { page, close } = await visit(chromium, of.url, { colorScheme, viewport });
          for (const [, path] of views.filter(([on]) => on === of)) {
            await page.goto(path);
            await accessible(chromium, page, `${path}, ${colorScheme}, ${size}`);
          }
          if (of === users) {
            await page.goto('/-/login?next=/');
            await page.getByLabel('Name').fill('admin');
            await page.getByLabel('Password').fill('wrong');
            await page.keyboard.press('Enter');
            await page.getByRole('alert').waitFor();
            await accessible(chromium, page, `a refused login, ${colorScheme}, ${size}`);
            await page.getByLabel('Password').fill(PASSWORD);
            await page.keyboard.press('Enter');
            await page.getByRole('button', { name: 'Log out' }).waitFor();
            await accessible(chromium, page, `a user's overview, ${colorScheme}, ${size}`);
          }
          await close();
        }
      });
    }
  }
}
