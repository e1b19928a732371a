// An admin makes a new environment of a snapshot and visits its shop.

import { expect, test } from "@playwright/test";
import { environment, logIn, takeSnapshot } from "./demo.js";

test("a snapshot of main becomes a shop of its own", async ({ page }) => {
  await logIn(page, "admin");
  await page.goto(`${environment("main")}/snapshots/new`);
  await takeSnapshot(page);
  await expect(page.getByText("Complete", { exact: true }).first()).toBeVisible({ timeout: 30_000 });
  await page.goto(environment("main"));
  await page.getByRole("article").first().getByRole("link", { name: /Restore/ }).click();

  await page.getByText("Only some parts, or into another or a new environment").click();
  await expect(page.getByLabel("Name of the new environment")).toBeHidden();
  await page.getByLabel("Into").selectOption("A new environment");
  await page.getByLabel("Name of the new environment").fill("trial");
  await page.getByRole("button", { name: "Show what that would do" }).click();

  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Make trial");
  await expect(page.getByText("Its application is started, and answers as trial.demo.localhost.")).toBeVisible();
  await page.getByRole("button", { name: "Make trial from this snapshot" }).click();
  await expect(page.getByText("trial is there and holds the snapshot's data.")).toBeVisible({ timeout: 30_000 });
  await page.getByRole("link", { name: "Open trial" }).click();
  await expect(page.getByRole("article").first()).toContainText(/made trial from [0-9a-f]{20} of main/);

  // The gateway follows within two seconds.
  const shop = page.getByRole("link", { name: /trial\.demo\.localhost/ });
  const address = await shop.getAttribute("href");
  await expect.poll(async () => (await page.goto(address)).status(), { timeout: 10_000 }).toBe(200);
  await expect(page.getByText("trial", { exact: true }).first()).toBeVisible();

  // The name is taken now.
  await page.goto(environment("main"));
  await page.getByRole("article").filter({ hasText: "created a snapshot" }).first().getByRole("link", { name: /Restore/ }).click();
  await page.getByText("Only some parts, or into another or a new environment").click();
  await page.getByLabel("Into").selectOption("A new environment");
  await page.getByLabel("Name of the new environment").fill("trial");
  await page.getByRole("button", { name: "Show what that would do" }).click();
  await expect(page.getByText("The environment trial exists already.")).toBeVisible();
});
