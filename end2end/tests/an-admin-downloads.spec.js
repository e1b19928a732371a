// An admin downloads a database, of a snapshot and as it is now; a viewer sees why there is no download.

import { readFileSync } from "node:fs";
import { expect, test } from "@playwright/test";
import { environment, logIn, snapshotNames, takeSnapshot } from "./demo.js";

async function downloaded(page, link) {
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? "with JavaScript" : "without JavaScript", () => {
    test.use({ javaScriptEnabled });

    test("download a database of a snapshot and as it is now", async ({ page }) => {
      await logIn(page, "admin");
      await page.goto(environment("staging"));
      await page.getByText("Download a database as it is now").click();
      const live = await downloaded(page, page.getByRole("link", { name: /^Download a dump of/ }).first());
      expect(live.name).toMatch(/^staging--[a-z-]+--\d{8}T\d{6}Z\.db$/);
      expect(live.bytes.subarray(0, 15).toString()).toBe("SQLite format 3");

      if ((await snapshotNames(page)).length === 0) {
        await page.getByRole("link", { name: "Snapshot", exact: true }).click();
        await takeSnapshot(page);
        await expect(async () => {
          await page.goto(environment("staging"));
          expect(await snapshotNames(page)).not.toHaveLength(0);
        }).toPass({ timeout: 30_000 });
      }
      const [name] = await snapshotNames(page);
      await page.goto(`${environment("staging")}/snapshots/${name}`);
      const stored = await downloaded(page, page.getByRole("link", { name: /^gzip a dump of/ }).first());
      expect(stored.name).toMatch(new RegExp(`^staging--[a-z-]+--${name}\\.db\\.gz$`));
      expect([...stored.bytes.subarray(0, 2)]).toEqual([0x1f, 0x8b]);

      await page.goto(environment("staging"));
      await expect(page.getByRole("article").first()).toContainText("downloaded a dump of");
    });

    test("a viewer sees the reason instead", async ({ page }) => {
      await logIn(page, "viewer");
      await page.goto(environment("main"));
      await page.getByText("Download a database as it is now").click();
      await expect(page.getByRole("button", { name: /^Download a dump of/ }).first()).toBeDisabled();
      await expect(page.getByText("Taking data out of an environment needs the admin role").first()).toBeVisible();
    });
  });
}
