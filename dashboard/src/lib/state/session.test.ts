import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { AuthResponse } from '$lib/api/types';
import { renewalDelay, SessionState } from './session.svelte';
import { safeNext } from './signin';

const signedIn = (token: string, team = 'team-1'): AuthResponse => ({
	token,
	team_id: team,
	user_id: 'usr-1',
	name: 'Ana',
	email: 'ana@example.test'
});
const answering = (token: string) =>
	vi.fn(async () => new Response(JSON.stringify(signedIn(token)), { status: 200 }));

describe('session', () => {
	beforeEach(() => {
		vi.useFakeTimers();
		vi.stubGlobal('BroadcastChannel', undefined);
	});
	afterEach(() => {
		vi.useRealTimers();
		vi.unstubAllGlobals();
	});

	test('many refusals at once make one renewal', async () => {
		const fetch = answering('new');
		vi.stubGlobal('fetch', fetch);
		const session = new SessionState();
		session.accept(signedIn('old'));
		const outcomes = await Promise.all([session.renew('old'), session.renew('old')]);
		expect(outcomes).toEqual([true, true]);
		expect(fetch).toHaveBeenCalledOnce();
		expect(session.token()).toBe('new');
	});

	test('a token that another tab renewed meanwhile is used as it is', async () => {
		const fetch = answering('newest');
		vi.stubGlobal('fetch', fetch);
		const session = new SessionState();
		session.accept(signedIn('new'));
		expect(await session.renew('old')).toBe(true);
		expect(fetch).not.toHaveBeenCalled();
	});

	test('renewal keeps what is on screen; another team empties it; so does the end', async () => {
		vi.stubGlobal('fetch', answering('new'));
		const session = new SessionState();
		session.accept(signedIn('old'));
		const epoch = session.epoch;
		await session.renew('old');
		expect(session.epoch).toBe(epoch);
		session.accept(signedIn('other', 'team-2'));
		expect(session.epoch).toBe(epoch + 1);
		session.ended();
		expect(session.epoch).toBe(epoch + 2);
		expect(session.token()).toBeUndefined();
	});

	test('nothing is stored where a script of somebody else’s could read it', () => {
		const session = new SessionState();
		session.accept(signedIn('secret-token'));
		const stored = JSON.stringify({ ...localStorage }) + JSON.stringify({ ...sessionStorage });
		expect(stored + document.cookie + location.href).not.toContain('secret-token');
	});

	test('a token is renewed at half its life', () => {
		const now = 1_000_000_000_000;
		const claims = btoa(JSON.stringify({ exp: now / 1000 + 900 }));
		expect(renewalDelay(`h.${claims}.s`, now)).toBe(450_000);
		expect(renewalDelay('nonsense', now)).toBe(60_000);
	});
});

describe('safeNext', () => {
	const home = '/dashboard/capsules/list';
	test.each([
		['/dashboard/keys?x=1', '/dashboard/keys?x=1'],
		[null, home],
		['https://evil.test/', home],
		['//evil.test/', home],
		['/\\evil.test/', home],
		['/\t/evil.test/', home],
		['javascript:alert(1)', home]
	])('%s leads to %s', (next, expected) => expect(safeNext(next)).toBe(expected));
});
