import adapter from '@sveltejs/adapter-static';
import { vitePreprocess } from '@sveltejs/vite-plugin-svelte';

/** @type {import('@sveltejs/kit').Config} */
export default {
	preprocess: vitePreprocess(),
	kit: {
		adapter: adapter({ fallback: '200.html', precompress: true }),
		// Styles are not restricted here: the server's header does that, with a nonce of its own.
		csp: { mode: 'hash', directives: { 'script-src': ['self'] } },
		version: { pollInterval: 60_000 }
	}
};
