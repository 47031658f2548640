// Logins, what users may see, and deleting a tag.
import { writeFileSync } from 'node:fs';

import { visit } from './browser.mjs';
import { assert, equal, step } from './harness.mjs';
import { PASSWORD, htpasswd } from './content.mjs';

const names = (page) => page.locator('table.list tbody th a').allInnerTexts();

async function logIn(page, user, password = PASSWORD) {
  await page.getByLabel('Name').fill(user);
  await page.getByLabel('Password').fill(password);
  await page.keyboard.press('Enter');
}

const at = (page, path) => page.waitForURL((url) => url.pathname === path);

export async function run(chromium, { registry }) {
  const { page, close } = await visit(chromium, registry.url);
  await step('login-anonymous-sees-a-part', async () => {
    await page.goto('/');
    equal(await names(page), ['public/site']);
    assert(!(await page.content()).includes('team/'), 'a hidden name is there');
    equal(await page.getByText('Saved today').count(), 0);
  });
  await step('login-asked-and-refused', async () => {
    await page.goto('/-/repositories/team/api/-/v1');
    equal(new URL(page.url()).pathname, '/-/login');
    await logIn(page, 'ci-1', 'wrong');
    await page.getByRole('alert').waitFor();
    equal(await page.getByLabel('Password').inputValue(), '', 'the password in the form');
  });
  await step('login-leads-back', async () => {
    await logIn(page, 'ci-1');
    await at(page, '/-/repositories/team/api/-/v1');
    await page.getByText('ci-1').waitFor();
    equal(await page.getByRole('link', { name: 'Delete tag…' }).count(), 0);
  });
  await step('login-of-a-user', async () => {
    await page.goto('/');
    equal(await names(page), ['public/site', 'team/api']);
    const reply = await page.goto('/-/repositories/team/api/-/v1/delete');
    equal(reply.status(), 403);
    equal((await page.goto('/-/repositories/secret/keys')).status(), 403);
    assert(!(await page.evaluate(() => document.cookie)).includes('session'), 'scripts read the session');
  });
  await step('logout', async () => {
    await page.goto('/-/repositories/team/api');
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByRole('link', { name: 'Log in' }).waitFor();
    await page.goBack();
    await page.getByLabel('Password').waitFor();
    equal(await page.getByRole('row', { name: 'v1' }).count(), 0, 'what is seen after a logout');
  });
  await step('delete-asks-first', async () => {
    await page.goto('/-/login?next=/-/repositories/team/api');
    await logIn(page, 'admin');
    await at(page, '/-/repositories/team/api');
    equal(await names(page), ['old', 'v1']);
    await page.getByRole('link', { name: 'old' }).click();
    await page.getByRole('link', { name: 'Delete tag…' }).click();
    await page.getByRole('heading', { name: 'Delete this tag?' }).waitFor();
    await page.getByRole('link', { name: 'Keep it' }).click();
    await at(page, '/-/repositories/team/api/-/old');
  });
  await step('delete-a-tag', async () => {
    await page.getByRole('link', { name: 'Delete tag…' }).click();
    await page.getByRole('button', { name: 'Delete tag' }).click();
    await at(page, '/-/repositories/team/api');
    equal(await names(page), ['v1']);
    equal((await page.goto('/-/repositories/team/api/-/old')).status(), 404);
  });
  await step('login-live-figures-end', async () => {
    await page.goto('/');
    await page.waitForSelector('html.is-live', { state: 'attached' });
    await page.getByText('Sent to clients today').waitFor();
    // Without the user's line, the session ends, and the stream with it. What comes next is what anonymous users see.
    writeFileSync(registry.passwords, htpasswd('ci-1'));
    await page.getByText('Sent to clients today').waitFor({ state: 'detached' });
    await page.goto('/');
    await page.getByRole('link', { name: 'Log in' }).waitFor();
  });
  await step('login-nothing-bad', close);
}
