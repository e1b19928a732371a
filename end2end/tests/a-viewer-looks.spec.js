// A viewer sees the history and can start nothing; the page says why.

import { expect, test } from "@playwright/test";
import { environment, logIn } from "./demo.js";

test("buttons are there, closed, with the reason", async ({ page }) => {
  await logIn(page, "viewer");
  await page.goto(environment("main"));
  await expect(page.getByRole("heading", { level: 2, name: "Activity" })).toBeVisible();
  const button = page.getByRole("button", { name: "Snapshot", exact: true });
  await expect(button).toBeDisabled();
  await expect(page.getByText(/Creating a snapshot needs the admin role on production environments/).first()).toBeVisible();
});

test("an address that was guessed gives the reason, and nothing is started", async ({ page }) => {
  await logIn(page, "viewer");
  await page.goto(`${environment("main")}/snapshots/new`);
  await expect(page.getByRole("button", { name: "Take the snapshot" })).toBeDisabled();
  const reply = await page.goto(`${environment("main")}/snapshots/0123456789abcdef0123/restore`);
  expect(reply.status()).toBe(403);
});
