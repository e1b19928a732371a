// An admin has snapshots taken by a schedule, and a restore tried (R9, R29).

import { readFileSync } from "node:fs";
import { expect } from "@playwright/test";
import { at, declareProject, snapshotOf, test } from "./story.js";

// Not for production, which has schedules without anybody's doing.
test.beforeAll(() => {
  declareProject("observatory", "The observatory", { staging: "staging" });
});

const staging = at("observatory", "staging");
const OFTEN = "0 */6 * * *";

test("a schedule with advice, and none again", async ({ enter }) => {
  const page = await enter("admin");
  const form = page.getByRole("region", { name: "Add a schedule" });
  const write = async (cron) => {
    await form.getByLabel("Cron expression").fill(cron);
    await page.keyboard.press("Tab");
    await expect(form.getByLabel("Time zone")).toBeFocused();
    await page.keyboard.press("Control+A");
    await page.keyboard.type("Europe/Berlin");
    await page.keyboard.press("Tab");
    await expect(form.getByRole("button", { name: "Add the schedule" })).toBeFocused();
    await page.keyboard.press("Enter");
  };

  await test.step("what is wrong with an expression is said beside it", async () => {
    await page.goto(staging);
    await page.getByRole("link", { name: "Schedules" }).click();
    await write("0 25 * * *");
    await expect(form.getByRole("alert")).toContainText("“25” can't be the hour");
    await expect(form.getByLabel("Cron expression")).toHaveValue("0 25 * * *");
  });

  await test.step("its next runs, and the advice for more than one a day", async () => {
    await write(OFTEN);
    const schedule = page.getByRole("listitem").filter({ has: page.getByText(OFTEN, { exact: true }) });
    await expect(schedule).toContainText("Active");
    await expect(schedule.getByRole("listitem")).toHaveText([/, (00|06|12|18):0\d CE/, /CE/, /CE/]);
    await expect(schedule).toContainText("Please take scheduled snapshots no more than once a day");
    await schedule.getByRole("button", { name: /^Remove/ }).click();
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("Schedules of staging");
    await expect(page.getByText(OFTEN, { exact: true })).toBeHidden();
  });
});

test("a restore that is tried, and its report", async ({ enter }) => {
  const page = await enter("admin");
  const snapshot = await snapshotOf(page, "observatory", "staging");
  await page.goto(staging);
  await expect(page.getByText("No restore has been tried yet.")).toBeVisible();
  await page.getByRole("button", { name: "Try a restore" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Trying a restore of staging");
  await expect(page.getByText(/^The restore works/)).toBeVisible({ timeout: 30_000 });

  const report = page.getByRole("region", { name: "Report" });
  await expect(report).toContainText(snapshot);
  await expect(report.getByRole("row").filter({ hasText: "pages" })).toBeVisible();
  const saving = page.waitForEvent("download");
  await report.getByRole("link", { name: "JSON" }).click();
  const drill = JSON.parse(readFileSync(await (await saving).path(), "utf8"));
  expect([drill.snapshot, drill.parts.length]).toEqual([snapshot, 1]);

  await page.goto(staging);
  await expect(page.getByText(/Restore proven\s+on/)).toBeVisible();
});
