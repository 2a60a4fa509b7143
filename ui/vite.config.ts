import { svelte } from "@sveltejs/vite-plugin-svelte";
import { svelteTesting } from "@testing-library/svelte/vite";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [svelte(), svelteTesting()],
  // Served from a custom scheme: no absolute paths.
  base: "./",
  build: {
    // The oldest supported web views: WebKitGTK 2.44 (Ubuntu 24.04) and Safari 16 (macOS).
    target: ["es2022", "safari16"],
    // The CSP forbids inline scripts and styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { port: 5183, strictPort: true },
  test: {
    // Tests that render select jsdom in their first line.
    environment: "node",
    include: ["src/**/*.test.ts"],
    testTimeout: 20_000,
    restoreMocks: true,
  },
});
