import { sveltekit } from '@sveltejs/kit/vite';
import tailwindcss from '@tailwindcss/vite';
import { svelteTesting } from '@testing-library/svelte/vite';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

const target = process.env.WRENN_BASE_URL ?? 'http://127.0.0.1:8080';
const server = { target, changeOrigin: true, ws: true };

/** SvelteKit's announcer of pages has a `style` attribute, which our policy forbids; a class does the same. */
const announcerByClass: Plugin = {
	name: 'wrenn:announcer-by-class',
	enforce: 'pre',
	transform(code, id) {
		if (!id.includes('/generated/root.svelte')) return undefined;
		return code.replace(/(id="svelte-announcer"[^>]*?) style="[^"]*"/, '$1 class="sr-only"');
	}
};

export default defineConfig({
	plugins: [announcerByClass, tailwindcss(), sveltekit(), svelteTesting()],
	server: { proxy: { '/v1': server, '/api': server, '/auth/oauth': server } },
	test: { environment: 'jsdom', include: ['src/**/*.test.ts', 'tests/**/*.test.ts'] }
});
