// An admin invites somebody by a link, changes what they may do, and removes them (R1, R2, R7).

import { expect } from "@playwright/test";
import { at, declareProject, test } from "./story.js";

test.beforeAll(() => {
  declareProject("guild", "The guild", { main: "production", staging: "staging", draft: "development" });
});

const GUEST = "noor@guild.example";
const PASSWORD = "four unrelated quiet words";
const MEMBERS = "/projects/guild/members";
const said = (page) => page.getByRole("status").first();

test("a link that works once, other roles, and the end", async ({ enter, complaints }) => {
  const admin = await enter("admin");
  const link = await test.step("invites, by the keyboard alone", async () => {
    await admin.goto(MEMBERS);
    const form = admin.getByRole("region", { name: "Invite somebody" });
    await form.getByLabel("E-mail address").focus();
    await admin.keyboard.type(GUEST);
    // In the project and on production as it stands there; on staging nothing; on development all.
    for (const choice of ["", "", "not", "admin", ""]) {
      await admin.keyboard.press("Tab");
      await admin.keyboard.type(choice);
    }
    await expect(form.getByRole("button", { name: "Make the link" })).toBeFocused();
    await admin.keyboard.press("Enter");
    const made = admin.getByRole("status", { name: `The invitation of ${GUEST} is made` });
    const link = await made.getByRole("code").innerText();
    await admin.reload();
    await expect(admin.getByText(link)).toBeHidden();
    await expect(form).toContainText(`as viewer, production:viewer, development:admin`);
    return link;
  });

  const guest = await enter();
  await test.step("the guest chooses a password", async () => {
    await guest.goto(link);
    await expect(guest.getByRole("heading", { level: 1 })).toHaveText("Join The guild");
    const [password, repeated] = [guest.getByLabel("New password", { exact: true }), guest.getByLabel("once more")];
    await password.fill(PASSWORD);
    await repeated.fill(`${PASSWORD}!`);
    await guest.keyboard.press("Enter");
    await expect(guest.getByRole("alert")).toContainText("The two passwords are not the same.");
    await password.fill(PASSWORD);
    await repeated.fill(PASSWORD);
    await guest.keyboard.press("Enter");
    await expect(guest.getByRole("heading", { level: 1 })).toHaveText("The guild");
  });

  await test.step("the link is used up", async () => {
    const other = await enter();
    await other.goto(link);
    await expect(other.getByText("This invitation was used already.")).toBeVisible();
    await expect.poll(() => complaints.length).toBe(1);
    expect(complaints.splice(0)[0]).toContain("410");
  });

  await test.step("sees and does what the roles allow", async () => {
    await expect(guest.getByRole("link", { name: "main", exact: true })).toBeVisible();
    await expect(guest.getByRole("link", { name: "staging", exact: true })).toBeHidden();
    expect((await guest.request.get(at("guild", "staging"))).status()).toBe(404);
    await guest.goto(at("guild", "main"));
    await expect(guest.getByRole("button", { name: "Snapshot", exact: true })).toBeDisabled();
    await expect(guest.getByText(/^Creating a snapshot needs the admin role on production environments/)).toBeVisible();
    await guest.goto(at("guild", "draft"));
    await expect(guest.getByRole("link", { name: "Snapshot", exact: true })).toBeVisible();
    await guest.goto(MEMBERS);
    await expect(guest.getByRole("button", { name: "Make the link" })).toBeDisabled();
    await expect(guest.getByText(/^Managing members needs the admin role in the project/)).toBeVisible();
  });

  const member = admin.getByRole("listitem").filter({ hasText: GUEST });
  const open = async () => {
    await admin.goto(MEMBERS);
    await member.locator("summary").click();
  };
  await test.step("gets another role", async () => {
    await open();
    await member.getByLabel("Production").selectOption("admin");
    await member.getByLabel("Development").selectOption("");
    await member.getByRole("button", { name: "Save the roles" }).click();
    await expect(said(admin)).toContainText("production:admin");
    await guest.goto(at("guild", "main"));
    await expect(guest.getByRole("link", { name: "Snapshot", exact: true })).toBeVisible();
    expect((await guest.request.get(at("guild", "draft"))).status()).toBe(404);
  });

  await test.step("is removed", async () => {
    await open();
    await member.getByRole("button", { name: `Remove from the project ${GUEST}` }).click();
    await expect(said(admin)).toContainText("The member is removed");
    await guest.goto("/");
    await expect(guest.getByText("No projects yet.")).toBeVisible();
  });
});
