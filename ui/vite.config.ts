import { svelte } from "@sveltejs/vite-plugin-svelte";
import { svelteTesting } from "@testing-library/svelte/vite";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [svelte(), svelteTesting()],
  // The app serves the page from a scheme of its own: no absolute paths.
  base: "./",
  build: {
    // The oldest web view that we meet: WebKitGTK 2.44 of Ubuntu 24.04, Safari 16 on a Mac.
    target: ["es2022", "safari16"],
    // Scripts and styles stay files of their own, as the page's CSP asks.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { port: 5183, strictPort: true },
  test: {
    // Tests that draw ask for jsdom in their first line.
    environment: "node",
    include: ["src/**/*.test.ts"],
    testTimeout: 20_000,
    restoreMocks: true,
  },
});
