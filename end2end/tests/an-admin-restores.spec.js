// An admin takes a snapshot, changes the shop, restores it, and takes that back.

import { expect, test } from "@playwright/test";
import { environment, logIn, shop, takeSnapshot, visit } from "./demo.js";

async function orders(page) {
  await page.goto(`${shop("staging")}/`);
  return page.locator("footer").innerText();
}

async function order(page) {
  await page.goto(`${shop("staging")}/`);
  await page.locator("a[href*='/product']").first().click();
  await page.getByRole("button", { name: /order|buy/i }).first().click();
}

async function takeSnapshotOfStaging(page) {
  await page.goto(environment("staging"));
  await page.getByRole("link", { name: "Snapshot", exact: true }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Take a snapshot of staging");
  await page.getByLabel(/Note/).fill("before the sale");
  await takeSnapshot(page);
}

test("snapshot, change, restore, undo, without reloading a page", async ({ page, context }) => {
  await logIn(page, "admin");
  const visitor = await context.newPage();
  const before = await orders(visitor);

  await takeSnapshotOfStaging(page);
  await page.goto(environment("staging"));
  const entry = page.getByRole("article").first();
  // No reload from here on: the entry gets its link when the snapshot is complete.
  await expect(entry.getByText("Complete")).toBeVisible({ timeout: 30_000 });
  await expect(entry.getByRole("link", { name: /Restore/ })).toBeVisible();
  await expect(page.getByRole("status").first()).toContainText("Everything is backed up");

  await order(visitor);
  const changed = await orders(visitor);
  expect(changed).not.toBe(before);

  await entry.getByRole("link", { name: /Restore/ }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Restore staging");
  await expect(page.getByText("What will be overwritten")).toBeVisible();
  await page.getByRole("button", { name: "Overwrite staging and restore" }).click();
  await expect(page.getByText(/Restored\. The gate was closed for/)).toBeVisible({ timeout: 30_000 });
  await expect(page.getByText("Complete", { exact: true }).first()).toBeVisible({ timeout: 30_000 });
  expect(await orders(visitor)).toBe(before);

  await page.goto(environment("staging"));
  await page.getByRole("article").first().getByRole("link", { name: /Undo/ }).click();
  await page.getByRole("button", { name: "Overwrite staging and restore" }).click();
  await expect(page.getByText("Complete", { exact: true }).first()).toBeVisible({ timeout: 30_000 });
  expect(await orders(visitor)).toBe(changed);
});

test("the shop goes on serving while a snapshot is taken", async ({ page, request }) => {
  await logIn(page, "admin");
  await takeSnapshotOfStaging(page);
  const statuses = [];
  for (let i = 0; i < 40; i += 1) {
    const reply = await visit(request, "staging");
    statuses.push(reply.status());
  }
  expect(new Set(statuses)).toEqual(new Set([200]));
});
