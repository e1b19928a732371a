// The console in Debian's own Chromium, against a server with the demo project that this run starts and ends.
// `cargo xtask test` builds the server and names it in STILLPOINT_SERVER; nothing is downloaded here.

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig, devices } from "@playwright/test";

const server = process.env.STILLPOINT_SERVER;
if (!server) {
  throw new Error("run the browser tests with `cargo xtask test`: it builds the server that they need");
}
// Playwright reads this file again in each of its processes: what the first one chose is handed on.
const data = (process.env.STILLPOINT_E2E_DATA ??= mkdtempSync(join(tmpdir(), "stillpoint-e2e-")));
const console = (process.env.STILLPOINT_E2E_CONSOLE ??= "127.0.0.1:4190");
const gateway = (process.env.STILLPOINT_E2E_GATEWAY ??= "127.0.0.1:4191");

export default defineConfig({
  testDir: "tests",
  forbidOnly: true,
  // One server with one history of each environment: stories take turns.
  workers: 1,
  timeout: 60_000,
  reporter: [["list"]],
  outputDir: "test-results",
  use: {
    ...devices["Desktop Chrome"],
    baseURL: `http://${console}`,
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      // Chromium's own sandbox refuses to start as root, as in most containers.
      args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
    },
    screenshot: "only-on-failure",
    trace: "retain-on-failure",
  },
  webServer: {
    command: `"${server}" all --demo --data "${data}" --listen ${console} --gateway ${gateway}`,
    url: `http://${console}/healthz`,
    stdout: "pipe",
    timeout: 120_000,
    gracefulShutdown: { signal: "SIGTERM", timeout: 10_000 },
  },
});
