// Everything works without JavaScript.

import { expect, test } from "@playwright/test";
import { environment, logIn, snapshotNames, takeSnapshot } from "./demo.js";

test.use({ javaScriptEnabled: false });

test("log in, snapshot, restore, log out", async ({ page }) => {
  await logIn(page, "admin");
  await page.goto(environment("develop"));
  const before = (await snapshotNames(page)).length;
  await page.getByRole("link", { name: "Snapshot", exact: true }).click();
  await takeSnapshot(page);

  await expect(async () => {
    await page.goto(environment("develop"));
    expect(await snapshotNames(page)).toHaveLength(before + 1);
  }).toPass({ timeout: 30_000 });

  await page.getByRole("article").first().getByRole("link", { name: /Restore/ }).click();
  await page.getByRole("button", { name: "Overwrite develop and restore" }).click();
  await expect(async () => {
    await page.goto(environment("develop"));
    await expect(page.getByRole("article").first().getByText("Complete")).toBeVisible({ timeout: 500 });
  }).toPass({ timeout: 30_000 });

  await page.getByRole("button", { name: "Log out" }).click();
  await page.goto(environment("develop"));
  await expect(page).toHaveURL(/\/login/);
});

test("a wrong password is said on the same page", async ({ page }) => {
  await page.goto("/login");
  await page.getByLabel("E-mail address").fill("nobody@demo.localhost");
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByText(/The e-mail address or the password is wrong/i)).toBeVisible();
});
