// What the pages before the dashboard share: taking a secret out of the address, and saying why signing in failed.
import { asFailure } from '$lib/api/failure';
import { duration } from '$lib/format';

/** Takes the fragment out of the address bar and the history, and returns it. */
export function takeFragment(): URLSearchParams {
	const fragment = new URLSearchParams(location.hash.slice(1));
	// Not SvelteKit's replaceState: this runs before the router has started.
	if (location.hash) {
		history.replaceState(history.state, '', location.pathname + location.search);
	}
	return fragment;
}

/** One text for each cause; none tells whether an address has an account. */
export function signInFault(thrown: unknown): string {
	const failure = asFailure(thrown);
	switch (failure.code) {
		case 'unauthorized':
			return 'The email address or the password is wrong.';
		case 'account_disabled':
			return 'This account is disabled. An administrator of this server can enable it.';
		case 'account_not_activated':
			return 'This account is not activated yet. The link to do so is in your inbox.';
		case 'rate_limited':
			return `Too many tries. Try again in ${duration(failure.retryAfter ?? 60)}.`;
		default:
			return failure.message;
	}
}

/** Where to go after signing in: a path of ours, or the list. */
export function safeNext(next: string | null): string {
	const fallback = '/dashboard/capsules/list';
	if (!next?.startsWith('/') || /^\/[/\\]/.test(next)) return fallback;
	const url = new URL(next, 'http://here.invalid');
	return url.host === 'here.invalid' ? url.pathname + url.search : fallback;
}
