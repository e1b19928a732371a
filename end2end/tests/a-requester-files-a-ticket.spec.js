// A project's admin asks support for a restore by a ticket, and a support engineer works on it (R27, R28).

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { addAccount, at, declare, declareProject, snapshotOf, test } from "./story.js";

const REQUESTER = "ines@press.example";
const region = (offer) => `[[region]]\nid = "local"\nrestore_elsewhere = "${offer}"\n`;
const LONG = { timeout: 30_000 };
let folders;

test.beforeAll(() => {
  addAccount(REQUESTER);
  const admin = `[[project.member]]\nemail = "${REQUESTER}"\nrole = "admin"\n`;
  const environments = { main: "production", staging: "staging" };
  folders = declareProject("press", "The press", environments, region("by_ticket"), admin);
});

// Other stories restore by themselves.
test.afterAll(() => declare("self-service", region("self_service")));

const condition = (page) => page.locator(".condition");
const written = (page) => page.getByRole("region", { name: "History" });
const field = (page) => page.getByLabel("Comment or reason");

/** From the snapshot's restore page on; leads to the ticket. */
async function file(page, snapshot, why) {
  await page.goto(`${at("press", "main")}/snapshots/${snapshot}/restore`);
  await page.getByText("Only some parts, or into another or a new environment").click();
  await page.getByLabel("Into").selectOption("staging");
  await page.getByRole("button", { name: "Show what that would do" }).click();
  await expect(page.getByRole("heading", { name: "In the region local support staff does this" })).toBeVisible();
  await expect(page.getByRole("button", { name: "Overwrite staging and restore" })).toBeDisabled();
  await page.getByRole("link", { name: "File a ticket" }).click();

  await expect(page.getByRole("heading", { level: 1 })).toHaveText("File a ticket: main into staging");
  await expect(page.getByRole("region", { name: "What will be overwritten" })).toContainText("pages");
  // By the keyboard alone.
  await page.getByLabel("Why", { exact: true }).focus();
  await page.keyboard.type(why);
  await page.keyboard.press("Tab");
  await expect(page.getByRole("button", { name: "File the ticket" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Ticket: main into staging");
  await expect(condition(page)).toContainText("for somebody of the support staff");
}

async function claim(page, why) {
  await page.goto("/support/tickets");
  const row = page.getByRole("row").filter({ hasText: why });
  await expect(row).toContainText("The press");
  await expect(row).toContainText(REQUESTER);
  await row.getByRole("button", { name: "Claim main into staging" }).click();
  await expect(condition(page)).toContainText("support@demo.localhost works on it.");
}

test("it is restored, and there is evidence to print", async ({ enter }) => {
  const why = "The editors try the new layout on staging, tomorrow at nine.";
  const requester = await enter(REQUESTER);
  const snapshot = await snapshotOf(requester, "press", "main");
  await file(requester, snapshot, why);
  const support = await enter("support");

  await test.step("claimed, answered, looked at, run", async () => {
    await claim(support, why);
    await field(support).fill("I begin at once.");
    await support.getByRole("button", { name: "Comment", exact: true }).click();
    await expect(written(support)).toContainText("I begin at once.");
    await expect(support.getByRole("region", { name: "What will be overwritten" })).toContainText("pages");
    writeFileSync(join(folders.staging, "draft.txt"), "not in the snapshot\n");
    await support.getByRole("button", { name: "Overwrite staging and restore" }).click();
    await support.getByRole("link", { name: /^(Watch the|The) restore$/ }).click();
    await expect(support.getByText("staging serves the restored data.")).toBeVisible(LONG);
    expect(readFileSync(join(folders.staging, "front.txt"), "utf8")).toBe("front page of main\n");
    expect(existsSync(join(folders.staging, "draft.txt"))).toBe(false);
  });

  await test.step("the requester sees what came of it", async () => {
    await requester.reload();
    await expect(condition(requester)).toContainText("support@demo.localhost restored it.");
    await expect(written(requester)).toContainText("I begin at once.");
    await requester.goto(at("press", "staging"));
    await expect(requester.getByRole("article").first()).toContainText(`${snapshot} of main into staging`);
    await requester.goBack();
  });

  await test.step("evidence, on paper and as a file", async () => {
    await requester.getByRole("link", { name: "Evidence" }).click();
    await expect(requester.getByRole("heading", { level: 1 })).toHaveText("Evidence: main into staging");
    const log = requester.getByRole("list", { name: "Log of the restore" });
    const [top, json] = [requester.getByRole("banner"), requester.getByRole("link", { name: "As JSON" })];
    for (const shown of [top, json, log]) await expect(shown).toBeVisible();
    await requester.emulateMedia({ media: "print" });
    for (const hidden of [top, json]) await expect(hidden).toBeHidden();
    await expect(log).toBeVisible();
    expect(await log.evaluate((list) => list.scrollHeight - list.clientHeight), "lines that paper would cut").toBe(0);
    await requester.emulateMedia({ media: null });
    const saving = requester.waitForEvent("download");
    await json.click();
    const { ticket, steps } = JSON.parse(readFileSync(await (await saving).path(), "utf8"));
    expect([ticket.state, ticket.requester.name, ticket.wanted.snapshot]).toEqual(["restored", REQUESTER, snapshot]);
    expect(steps.map((step) => step.what)).toEqual(["filed the ticket", "claimed the ticket", "commented", "restored it"]);
  });
});

test("it is declined with a reason, and reopened with another", async ({ enter }) => {
  const requester = await enter(REQUESTER);
  const why = "Once more, please.";
  await file(requester, await snapshotOf(requester, "press", "main"), why);
  const support = await enter("support");

  await test.step("declined, which takes a reason", async () => {
    await claim(support, why);
    const decline = support.getByRole("button", { name: "Decline", exact: true });
    await decline.click();
    await expect(support.getByRole("alert")).toContainText("A reason is needed");
    await field(support).fill("Until when do you need it?");
    await decline.click();
    await expect(condition(support)).toContainText("support@demo.localhost declined it");
  });

  await test.step("reopened by whoever filed it, and in the queue again", async () => {
    await requester.reload();
    await expect(written(requester)).toContainText("Until when do you need it?");
    await field(requester).fill("By Friday noon.");
    await requester.getByRole("button", { name: "Reopen" }).click();
    await expect(condition(requester)).toContainText("for somebody of the support staff");
    await claim(support, why);
    await expect(written(support)).toContainText("By Friday noon.");
  });

  await test.step("withdrawn: nobody waits for it any more", async () => {
    await requester.reload();
    await requester.getByRole("button", { name: "Withdraw" }).click();
    await expect(condition(requester)).toContainText(`${REQUESTER} withdrew it.`);
    await support.goto("/support/tickets");
    await expect(support.getByText("The queue is empty.")).toBeVisible();
  });
});
