import { redirect } from '@sveltejs/kit';
import { session } from '$lib/state/session.svelte';

// A reload has lost the token; the cookie brings a new one, or there is nobody signed in.
export async function load({ url }) {
	if (session.signedIn || (await session.renew(undefined))) return;
	redirect(307, `/login?next=${encodeURIComponent(url.pathname + url.search)}`);
}
