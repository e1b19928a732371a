// What longer stories stand on: projects of their own, which no other story touches, and a browser for each person, whose
// console must stay quiet.

import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test as base } from "@playwright/test";
import { environment, logIn, login, takeSnapshot } from "./demo.js";

const data = process.env.STILLPOINT_E2E_DATA;
const LONG = { timeout: 30_000 };

/** What an operator does on the server's machine. */
function onTheMachine(words, input = "") {
  execFileSync(process.env.STILLPOINT_SERVER, [...words, "--data", data], { input, stdio: "pipe" });
}

/** An account with the demo's password. It is there already where the file's stories begin anew after one that failed. */
export function addAccount(address) {
  try {
    onTheMachine(["admin", "user", "add", address, "--password-stdin"], `${login().password}\n`);
  } catch (error) {
    if (!`${error.stderr}`.includes("There is already an account")) throw error;
  }
}

/** Applies a declaration. */
export function declare(name, text) {
  const file = join(data, `${name}.toml`);
  writeFileSync(file, text);
  onTheMachine(["apply", file]);
}

/**
 * Declares a project with a directory of files, and no database, in each environment: `{ name: type }`. Gives the
 * directories back by the same names.
 */
export function declareProject(id, title, environments, before = "", after = "") {
  const folders = {};
  let text = `${before}\n[[project]]\nid = "${id}"\ntitle = "${title}"\nplan = "self-hosted"\n${after}`;
  for (const [name, type] of Object.entries(environments)) {
    const folder = join(data, "stories", id, name, "pages");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "front.txt"), `front page of ${name}\n`);
    folders[name] = folder;
    text += `\n[[project.environment]]\nname = "${name}"\ntype = "${type}"\n`;
    text += `\n[[project.environment.mount]]\nname = "pages"\npath = "${folder}"\n`;
  }
  declare(id, text);
  return folders;
}

export const at = (project, name) => environment(name).replace("/demo/", `/${project}/`);

/** Takes one, waits on its page until it is there, and gives its name. */
export async function snapshotOf(page, project, name) {
  await page.goto(`${at(project, name)}/snapshots/new`);
  await takeSnapshot(page);
  await expect(page.getByText("The snapshot is complete and can be restored.")).toBeVisible(LONG);
  const link = page.getByRole("region", { name: "The snapshot" }).locator("a[href*='/snapshots/']").first();
  return (await link.getAttribute("href")).match(/[0-9a-f]{20}$/)[0];
}

export const test = base.extend({
  /** Errors in the browsers' consoles. Those that a story expects it takes out; at its end there is none. */
  complaints: [
    async ({}, use) => {
      const complaints = [];
      await use(complaints);
      expect(complaints, "errors in the consoles").toEqual([]);
    },
    { auto: true },
  ],

  /** Who logged in once stays so: passwords are slow on purpose, and logging in often is refused. */
  sessions: [async ({}, use) => use(new Map()), { scope: "worker" }],

  /** A browser for somebody: who has an account is logged in, a stranger (nobody named) is not. */
  enter: async ({ browser, baseURL, complaints, sessions }, use) => {
    const contexts = [];
    await use(async (who) => {
      const session = sessions.get(who);
      const context = await browser.newContext({ baseURL, storageState: session });
      contexts.push(context);
      context.on("weberror", (error) => complaints.push(`${error.error()}`));
      context.on("console", (message) => {
        if (message.type() === "error") complaints.push(`${message.location().url}: ${message.text()}`);
      });
      const page = await context.newPage();
      if (who && !session) {
        await logIn(page, who);
        sessions.set(who, await context.storageState());
      }
      return page;
    });
    for (const context of contexts) await context.close();
  },
});
