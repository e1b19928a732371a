// A token is shown once, works, and is revoked.

import { expect, test } from "@playwright/test";
import { logIn } from "./demo.js";

test("make, use, revoke", async ({ page, request }) => {
  await logIn(page, "admin");
  await page.goto("/tokens");
  await page.getByLabel("Name", { exact: false }).first().fill("nightly on web-1");
  await page.getByRole("button", { name: /make|create/i }).click();
  const text = (await page.locator("main").innerText()).match(/stp_[0-9a-f]{64}/)?.[0];
  expect(text).toBeTruthy();

  const ask = () => request.get("/api/projects", { headers: { Authorization: `Bearer ${text}` } });
  expect((await ask()).status()).toBe(200);
  await page.goto("/tokens");
  expect(await page.locator("main").innerText()).not.toContain(text);
  await page.getByRole("listitem").or(page.getByRole("row")).filter({ hasText: "nightly on web-1" })
    .getByRole("button", { name: /revoke/i }).first().click();
  await expect(async () => expect((await ask()).status()).toBe(401)).toPass({ timeout: 5_000 });
});
