// Looks at the page with a real browser, as a person would. Prints what it does, a line each.
//
//   PAGE         where the page is
//   CHROMIUM     the browser
//   SCREENSHOTS  the folder that pictures go to
//
// A line `produce` asks whoever runs this for one more message of the trigger `live`.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.NODE_PATH, 'x.js'));
const { chromium } = require('playwright-core');
const axe = require.resolve('axe-core/axe.min.js');

const { PAGE, CHROMIUM, SCREENSHOTS } = process.env;
const WIDTHS = [360, 1440];
const SCHEMES = ['light', 'dark'];

const say = (line) => process.stdout.write(`${line}\n`);

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });

// A page on which nothing may go wrong, and which may ask nobody but us.
async function open(options = {}) {
  const context = await browser.newContext({ timezoneId: 'UTC', locale: 'en-GB', ...options });
  if (options.audited) await context.addInitScript({ path: axe });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`error: ${error}`));
  page.on('dialog', (dialog) => { faults.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (request) => {
    if (!request.url().startsWith(PAGE)) faults.push(`request: ${request.url()}`);
  });
  page.setDefaultTimeout(15_000);
  const done = async () => {
    assert.deepEqual(faults, []);
    await context.close();
  };
  return { page, done };
}

const row = (page, name) => page.locator('#triggers tbody tr', { hasText: name });
const waiting = (page, name) => row(page, name).locator('td.number').first();
const wide = { viewport: { width: 1440, height: 900 } };

async function until(what, holds) {
  for (let tries = 0; tries < 300; tries += 1) {
    if (await holds()) return;
    await new Promise((later) => setTimeout(later, 50));
  }
  assert.fail(`never: ${what}`);
}

async function live() {
  const { page, done } = await open(wide);
  await page.goto(PAGE);
  await page.evaluate(() => { window.same = true; });
  const before = Number(await waiting(page, 'live').textContent());
  say('produce');
  await until('one more is shown', async () => Number(await waiting(page, 'live').textContent()) === before + 1);
  assert.equal(await page.evaluate(() => window.same), true, 'the page was not loaded anew');

  // Who has moved to a link stays there.
  await row(page, 'live').locator('a').focus();
  const time = row(page, 'live').locator('time');
  const polled = await time.textContent();
  await until('a later poll is shown', async () => (await time.textContent()) !== polled);
  assert.match(await page.evaluate(() => document.activeElement.textContent), /live/);
  await done();
}

async function one() {
  const { page, done } = await open(wide);
  await page.goto(PAGE);
  await row(page, 'live').locator('a').click();
  await page.waitForSelector('svg.chart g.bar rect');
  await page.locator('#points summary').click();
  const value = page.locator('#value');
  const before = Number(await value.textContent());
  const bar = await page.locator('svg.chart g.bar title').last().textContent();
  assert.match(bar, /^\d\d:\d\d UTC: \d+, \d+ order\.paid, 0 order\.gone\.\*$/);
  assert.ok(await page.locator('svg.chart rect.type-1').count() > 0, 'by type');
  say('produce');
  await until('one more is shown', async () => Number(await value.textContent()) === before + 1);
  assert.equal(await page.locator('#points').getAttribute('open'), '', 'what was opened stays open');
  const cells = await page.locator('#partitions tbody tr').first().locator('td').allTextContents();
  assert.equal(cells.length, 6);
  assert.match(await page.locator('#jobs').textContent(), /^KEDA wants \d+ Jobs?:/);
  assert.match(await page.locator('#types').textContent(), /order\.paid/);
  assert.equal(await page.getByText('hunter2').count(), 0);
  assert.ok(await page.getByText('(hidden)').count() > 0);
  await done();
}

async function search() {
  const { page, done } = await open(wide);
  await page.goto(PAGE);
  await page.evaluate(() => { window.same = true; });
  const rows = page.locator('#triggers tbody tr');
  const all = await rows.count();
  await page.getByLabel('Search', { exact: true }).pressSequentially('live', { delay: 20 });
  await until('few are left', async () => (await rows.count()) === 1);
  assert.ok(all > 5);
  assert.ok(page.url().endsWith('?q=live'), page.url());
  assert.equal(await page.evaluate(() => window.same), true);
  await page.getByLabel('Search', { exact: true }).fill('');
  await until('all are back', async () => (await rows.count()) === all);
  await page.getByRole('navigation', { name: 'By state' }).getByText('failing').click();
  await until('only those that fail', async () => (await rows.count()) === 1);
  await page.goto(PAGE);
  await page.getByRole('link', { name: 'Waiting', exact: true }).click();
  assert.equal(await page.locator('th[aria-sort=descending]').textContent(), 'Waiting');
  await done();
}

async function keyboard() {
  const { page, done } = await open(wide);
  await page.goto(PAGE);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.getElementById('content').contains(document.activeElement)), true);
  await row(page, 'live').locator('a').focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('#value');
  await done();
}

async function hostile() {
  for (const width of WIDTHS) {
    const { page, done } = await open({ viewport: { width, height: 800 } });
    await page.goto(PAGE);
    const links = await page.locator('#triggers a[href^="trigger"]').evaluateAll((all) => all.map((link) => link.href));
    assert.ok(links.length > 5);
    for (const address of [PAGE, ...links]) {
      await page.goto(address);
      const found = await page.evaluate(() => ({
        ran: window.hostile,
        scripts: document.scripts.length,
        images: document.images.length,
        tooWide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      }));
      assert.deepEqual(found, { ran: undefined, scripts: 1, images: 0, tooWide: 0 }, `${address} at ${width}`);
    }
    assert.ok(await page.goto(PAGE) && await page.getByText('<script>').count() > 0);
    await done();
  }
}

async function withoutJavaScript() {
  const { page, done } = await open({ ...wide, javaScriptEnabled: false });
  await page.goto(PAGE);
  const rows = page.locator('#triggers tbody tr');
  assert.ok(await rows.count() > 5);
  await page.getByLabel('Search', { exact: true }).fill('live');
  await page.getByRole('button', { name: 'Search' }).click();
  await until('one is left', async () => (await rows.count()) === 1);
  await rows.locator('a').click();
  assert.ok(await page.locator('svg.chart g.bar rect').count() > 0);
  await page.locator('#points summary').click();
  assert.ok(await page.locator('#points tbody tr').first().isVisible());
  await done();
}

async function accessible() {
  for (const width of WIDTHS) {
    for (const colorScheme of SCHEMES) {
      const { page, done } = await open({ viewport: { width, height: 800 }, colorScheme, audited: true });
      for (const name of ['overview', 'live', 'nothing']) {
        await page.goto(PAGE);
        if (name !== 'overview') {
          await row(page, name).locator('a').click();
          await page.waitForSelector('#value');
        }
        const { violations } = await page.evaluate(() => window.axe.run());
        const told = violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map((node) => node.html).slice(0, 3)}`);
        assert.deepEqual(told, [], `${name} at ${width}, ${colorScheme}`);
        const path = join(SCREENSHOTS, `${name}-${width}-${colorScheme}.png`);
        await page.screenshot({ path, fullPage: true });
        say(`screenshot ${path}`);
      }
      await done();
    }
  }
}

for (const test of [live, one, search, keyboard, hostile, withoutJavaScript, accessible]) {
  const began = Date.now();
  await test();
  say(`${test.name}: ok, ${Date.now() - began} ms`);
}
await browser.close();
