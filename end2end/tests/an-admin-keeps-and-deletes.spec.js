// An admin looks at what is kept and for how long, pins a snapshot, deletes another one and takes that back (R11, R13, R14).

import { expect } from "@playwright/test";
import { at, declareProject, snapshotOf, test } from "./story.js";

// Not for production: there the plan would take snapshots of its own meanwhile.
test.beforeAll(() => {
  declareProject("archive", "The archive", { staging: "staging" });
});

const staging = at("archive", "staging");
const fates = (page) => page.getByRole("table", { name: "Snapshots, newest first, with what becomes of them" });
const fate = (page, name) => fates(page).getByRole("row").filter({ hasText: name });

test("a preview, a year of another plan, a pin, a deletion taken back", async ({ enter }) => {
  const page = await enter("admin");
  const older = await snapshotOf(page, "archive", "staging");
  const newest = await snapshotOf(page, "archive", "staging");

  await test.step("what goes and why", async () => {
    await page.goto(staging);
    await page.getByRole("link", { name: "What is kept, and until when" }).click();
    await expect(page.getByText("Nothing goes at the next run.")).toBeVisible();
    await expect(fate(page, newest)).toContainText("It is the newest of an active environment.");
    await expect(fate(page, older)).toContainText("Stays");
  });

  await test.step("what a year under another plan would leave, by the keyboard alone", async () => {
    await page.getByRole("link", { name: "The plan", exact: true }).click();
    await page.getByRole("link", { name: "A year of it for staging environments" }).click();
    await page.getByLabel("Plan", { exact: true }).focus();
    await page.keyboard.type("Starter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.type("every");
    await page.keyboard.press("Tab");
    await expect(page.getByRole("button", { name: "Show what is left" })).toBeFocused();
    await page.keyboard.press("Enter");
    // Starter keeps for seven days.
    await expect(page.getByText(/^Of 8,7\d\d snapshots in a year, 16\d snapshots would be left\.$/)).toBeVisible();
    await expect(page.getByLabel("Plan", { exact: true })).toHaveValue("starter");
    await expect(page.getByRole("img", { name: "Snapshots left, by age" })).toBeVisible();
  });

  await test.step("a pin, which keeps it from being deleted too", async () => {
    await page.goto(`${staging}/snapshots/${older}`);
    await page.getByLabel("Keep it for").fill("the audit in spring");
    await page.keyboard.press("Enter");
    await expect(page.getByRole("button", { name: "Take the protection off" })).toBeVisible();
    await page.locator("summary", { hasText: "Delete it" }).click();
    await expect(page.getByRole("button", { name: "Delete it" })).toBeDisabled();
    await expect(page.getByText("This snapshot is protected. Take its protection off first.")).toBeVisible();
  });

  await test.step("another one goes, by the keyboard alone", async () => {
    await page.goto(`${staging}/snapshots/${newest}`);
    await page.locator("summary", { hasText: "Delete it" }).focus();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await expect(page.getByLabel(`Delete the snapshot ${newest}.`)).toBeFocused();
    await page.keyboard.press("Space");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("What is kept of staging");
    await expect(fates(page)).not.toContainText(newest);
    await expect(fate(page, older)).toContainText("It is protected: “the audit in spring”.");
  });

  await test.step("and comes back", async () => {
    const deleted = page.getByRole("region", { name: "Deleted, and can be taken back" });
    await expect(deleted).toContainText(newest);
    await deleted.getByRole("button", { name: `Take back ${newest}` }).click();
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("Snapshot of staging");
    await page.goto(`${staging}/retention`);
    await expect(deleted).toBeHidden();
    await expect(fate(page, newest)).toContainText("Held");
  });
});
