// An operator removes an environment and finds it again, then the whole project, and takes the purge back (R13, R14).

import { expect } from "@playwright/test";
import { at, declareProject, test } from "./story.js";

test.beforeAll(() => {
  declareProject("attic", "The attic", { main: "staging", old: "development" });
});

const LONG = { timeout: 30_000 };

test("removed, found, purged, and taken back", async ({ enter }) => {
  const page = await enter("admin");

  await test.step("an environment, whose name is typed by the keyboard alone", async () => {
    await page.goto(at("attic", "old"));
    await page.getByRole("link", { name: "Remove", exact: true }).click();
    const name = page.getByLabel("Its name");
    const last = page.getByLabel("Take a last snapshot. Without it nothing is removed.");
    await last.focus();
    await page.keyboard.press("Space");
    await page.keyboard.press("Tab");
    await expect(name).toBeFocused();
    await page.keyboard.type("main");
    await page.keyboard.press("Enter");
    await expect(page.getByRole("alert")).toContainText("what was typed is not “old”");
    await expect(last).toBeChecked();
    await name.focus();
    await page.keyboard.type("old");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await expect(page.getByText(/^old is removed\./)).toBeVisible(LONG);
  });

  await test.step("it stands in the list of removed ones, with its last snapshot", async () => {
    await page.goto("/projects/attic");
    await page.getByRole("link", { name: "Removed", exact: true }).click();
    const old = page.getByRole("region", { name: "old", exact: true });
    await expect(old).toContainText("by admin@demo.localhost");
    await expect(old.getByRole("link", { name: /^Restore elsewhere/ })).toBeVisible();
  });

  await test.step("the project too", async () => {
    await page.goto("/projects/attic");
    await page.getByRole("link", { name: "Remove", exact: true }).click();
    await page.getByLabel("Its id").fill("attic");
    await page.keyboard.press("Enter");
    await expect(page.getByText("The project is removed.")).toBeVisible(LONG);
    await page.goto("/");
    await page.getByRole("link", { name: "Removed projects" }).click();
    await page.getByRole("link", { name: "The attic" }).click();
  });

  await test.step("all its snapshots go, and come back", async () => {
    const old = page.getByRole("region", { name: "old", exact: true });
    await expect(old).toContainText("1 snapshot");
    await page.getByLabel("Its id").fill("attic");
    await page.keyboard.press("Enter");
    await expect(page.getByRole("status").first()).toContainText("Deleted: 1 snapshot. For 3 days that can be taken back.");
    await expect(old).toContainText("no snapshot is left");
    await page.getByRole("button", { name: "Take the deletion back" }).click();
    await expect(page.getByRole("status").first()).toContainText("Kept again: 1 snapshot.");
    await expect(old).toContainText("1 snapshot");
  });
});
