// How the stories get in: the demo's accounts, and its shop behind the gateway.

import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Made by the server at its first start with `--demo`. */
export function login() {
  return JSON.parse(readFileSync(join(process.env.STILLPOINT_E2E_DATA, "demo", "login.json"), "utf8"));
}

/** `who`: one of the demo's accounts, or the address of one that has the same password. */
export async function logIn(page, who) {
  const accounts = login();
  await page.goto("/login");
  await page.getByLabel("E-mail address").fill(accounts[who] ?? who);
  await page.getByLabel("Password").fill(accounts.password);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { level: 1, name: /^(Projects|Support queue)$/ }).waitFor();
}

export const environment = (name) => `/projects/demo/environments/${name}`;

/** The demo shop of an environment, as a visitor's browser reaches it: browsers take `*.localhost` for this machine. */
export const shop = (name) => `http://${name}.demo.localhost:${process.env.STILLPOINT_E2E_GATEWAY.split(":")[1]}`;

/** The same for programs, many of which look the name up in vain. */
export const visit = (request, name) =>
  request.get(`http://${process.env.STILLPOINT_E2E_GATEWAY}/`, { headers: { Host: `${name}.demo.localhost` } });

/** Names of snapshots, newest first, as the page lists them. */
export async function snapshotNames(page) {
  const links = page.getByRole("region", { name: "Snapshots" }).locator("a[href*='/snapshots/']");
  const addresses = await links.evaluateAll((found) => found.map((link) => link.getAttribute("href")));
  const names = addresses.map((address) => address.match(/\/snapshots\/([0-9a-f]{20})$/)?.[1]);
  return [...new Set(names.filter(Boolean))];
}

/** Sends the form for a new snapshot; where the plan has no room for another, says yes to what goes for it. */
export async function takeSnapshot(page) {
  const button = page.getByRole("button", { name: "Take the snapshot" });
  await button.waitFor();
  const agree = page.locator("input[name=evict]");
  if ((await agree.count()) > 0) await agree.check();
  await button.click();
}
