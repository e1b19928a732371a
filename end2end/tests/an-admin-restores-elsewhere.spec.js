// An admin puts one part of one environment into another, and takes that back.

import { expect, test } from "@playwright/test";
import { environment, logIn, takeSnapshot } from "./demo.js";

test("a part of main goes into develop and back", async ({ page }) => {
  await logIn(page, "admin");
  await page.goto(`${environment("main")}/snapshots/new`);
  await takeSnapshot(page);
  await expect(page.getByText("Complete", { exact: true }).first()).toBeVisible({ timeout: 30_000 });
  await page.goto(environment("main"));
  await page.getByRole("article").first().getByRole("link", { name: /Restore/ }).click();

  const overwrite = page.getByRole("button", { name: /Overwrite/ });
  await expect(overwrite).toHaveText("Overwrite main and restore");
  await page.getByText("Only some parts, or into another or a new environment").click();
  await page.getByLabel("Into").selectOption("develop");
  await page.getByLabel("Service database").uncheck();
  // What is ticked is not what is shown: it can't be confirmed.
  await expect(overwrite).toBeHidden();
  await page.getByRole("button", { name: "Show what that would do" }).click();

  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Restore develop");
  await expect(page.getByText("What stays as it is")).toBeVisible();
  await overwrite.click();
  await expect(page.getByText(/Restored\. The gate was closed for/)).toBeVisible({ timeout: 30_000 });
  await expect(page.getByText("Complete", { exact: true }).first()).toBeVisible({ timeout: 30_000 });

  await page.goto(environment("develop"));
  const entry = page.getByRole("article").first();
  await expect(entry).toContainText(/restored mount uploads of [0-9a-f]{20} of main into develop/);
  await entry.getByRole("link", { name: /Undo/ }).click();
  await expect(page.getByText("Service database")).toBeVisible();
  await page.getByRole("button", { name: "Overwrite develop and restore" }).click();
  await expect(page.getByText("Complete", { exact: true }).first()).toBeVisible({ timeout: 30_000 });
});

test("a choice of nothing says so", async ({ page }) => {
  await logIn(page, "admin");
  await page.goto(environment("main"));
  await page.getByRole("article").getByRole("link", { name: /Restore/ }).first().click();
  await page.getByText("Only some parts, or into another or a new environment").click();
  await page.getByLabel("Service database").uncheck();
  await page.getByLabel("Mount uploads").uncheck();
  await page.getByRole("button", { name: "Show what that would do" }).click();
  await expect(page.getByText("Nothing is chosen: tick at least one part.")).toBeVisible();
  await expect(page.getByRole("button", { name: /Overwrite/ })).toBeDisabled();
});
