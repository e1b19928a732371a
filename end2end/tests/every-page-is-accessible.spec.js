// axe on every page, in both colour schemes, on a phone and on a desk.

import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { environment, logIn, snapshotNames, takeSnapshot } from "./demo.js";

async function check(page, address) {
  await page.goto(address);
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map((found) => `${address}: ${found.id}: ${found.nodes[0].html}`)).toEqual([]);
  const overflows = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  expect(overflows, `${address} is wider than the window`).toBe(false);
}

for (const colorScheme of ["light", "dark"]) {
  for (const width of [390, 1280]) {
    test(`${colorScheme}, ${width} px`, async ({ browser, baseURL }) => {
      // Two seconds a page on a slow machine.
      test.setTimeout(180_000);
      const context = await browser.newContext({ baseURL, colorScheme, viewport: { width, height: 900 } });
      const page = await context.newPage();
      await check(page, "/login");
      await logIn(page, "admin");
      await page.goto(environment("main"));
      if ((await snapshotNames(page)).length === 0) {
        await page.getByRole("link", { name: "Snapshot", exact: true }).click();
        await takeSnapshot(page);
        await expect(page.getByText("Complete", { exact: true }).first()).toBeVisible({ timeout: 30_000 });
        await page.goto(environment("main"));
      }
      const [name] = await snapshotNames(page);
      const activity = await page.locator("a[href*='/activities/']").first().getAttribute("href");
      const pages = [
        "/", "/projects/demo", environment("main"), `${environment("main")}/snapshots/new`,
        `${environment("main")}/schedules`, `${environment("main")}/retention`, "/projects/demo/members",
        "/projects/demo/notices", "/projects/demo/audit", "/projects/demo/plan", "/projects/demo/plan/simulation",
        `${environment("staging")}/merge`, `${environment("main")}/storage`, `${environment("develop")}/remove`,
        "/projects/demo/remove", "/projects/demo/tickets", "/account", "/accounts", "/audit", "/support/tickets",
        `${environment("main")}/snapshots/${name}`, `${environment("main")}/snapshots/${name}/restore`,
        `${environment("main")}/snapshots/${name}/restore?choice=1&into=develop&part=mount:uploads`,
        activity, "/tokens", "/nowhere",
      ];
      for (const address of pages) await check(page, address);
      await context.close();
    });
  }
}
