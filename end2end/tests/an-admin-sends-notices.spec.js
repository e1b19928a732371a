// An admin has notices sent to a program, tries that, and reads why nothing arrives there.

import { expect } from "@playwright/test";
import { declareProject, test } from "./story.js";

test.beforeAll(() => {
  declareProject("herald", "The herald", { main: "production" });
});

const HOOK = "http://127.0.0.1:9/hook";

test("a webhook inside is refused with what to do, and removed", async ({ enter }) => {
  const page = await enter("admin");
  const added = page.getByRole("region", { name: "Addresses" });
  const form = page.getByRole("region", { name: "Add an address" });
  const log = page.getByRole("region", { name: "What became of them" });

  await test.step("an address that is none is given back with the reason", async () => {
    await page.goto("/projects/herald");
    await page.getByRole("link", { name: "Notices" }).click();
    await expect(added).toContainText("Nobody is told yet.");
    // By the keyboard alone.
    await form.getByLabel("How", { exact: true }).focus();
    await page.keyboard.type("Webhook");
    await page.keyboard.press("Tab");
    await page.keyboard.type("127.0.0.1/hook");
    await page.keyboard.press("Enter");
    await expect(form.getByRole("alert")).toContainText("This is no address that a post can go to.");
    await expect(form.getByLabel("Address")).toHaveValue("127.0.0.1/hook");
  });

  await test.step("the secret is shown once", async () => {
    await form.getByLabel("Address").fill(HOOK);
    await form.getByLabel("A restore is complete").uncheck();
    await page.keyboard.press("Enter");
    const secret = page.getByText(/^whs_[0-9a-f]{64}$/);
    await expect(secret).toBeVisible();
    await page.reload();
    await expect(secret).toBeHidden();
    const channel = added.getByRole("listitem").filter({ hasText: HOOK });
    await expect(channel.getByText("A snapshot failed").filter({ visible: true })).toHaveCount(1);
    await expect(channel.getByText("A restore is complete").filter({ visible: true })).toHaveCount(0);
  });

  await test.step("a test message, and why it did not arrive", async () => {
    await added.getByRole("button", { name: `Send a test ${HOOK}` }).click();
    await expect(page.getByRole("status").first()).toContainText("A test message goes out within seconds.");
    await expect(async () => {
      await page.reload();
      const row = log.getByRole("row").filter({ hasText: "A test message" });
      await expect(row).toContainText("127.0.0.1 is an address of an inner network", { timeout: 100 });
      await expect(row).toContainText("its operator can allow it with --webhook-network", { timeout: 100 });
    }).toPass({ timeout: 30_000 });
  });

  await test.step("removed, with its log", async () => {
    await added.getByRole("button", { name: `Remove ${HOOK}` }).click();
    await expect(page.getByRole("status").first()).toContainText("Nothing is sent there any more.");
    await expect(added).toContainText("Nobody is told yet.");
    await expect(log).not.toContainText("A test message");
  });
});
