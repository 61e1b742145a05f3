import { sveltekit } from '@sveltejs/kit/vite';
import tailwindcss from '@tailwindcss/vite';
import { svelteTesting } from '@testing-library/svelte/vite';
import { defineConfig } from 'vitest/config';

const target = process.env.WRENN_BASE_URL ?? 'http://127.0.0.1:8080';
const server = { target, changeOrigin: true, ws: true };

export default defineConfig({
	plugins: [tailwindcss(), sveltekit(), svelteTesting()],
	server: { proxy: { '/v1': server, '/api': server, '/auth/oauth': server } },
	test: { environment: 'jsdom', include: ['src/**/*.test.ts', 'tests/**/*.test.ts'] }
});
