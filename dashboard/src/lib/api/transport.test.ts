import { afterEach, describe, expect, test, vi } from 'vitest';
import { Failure, failureOf } from './failure';
import { createTransport, type Credentials, DEADLINE_MS, deadlineOf } from './transport';

const at = (path: string, init?: RequestInit) => new Request(`http://wrenn.test${path}`, init);
const answer = (status: number) => new Response('{}', { status });

function check(renews: boolean, statuses: number[]) {
	let token = 'old';
	const credentials: Credentials = {
		token: () => token,
		renew: vi.fn(async () => {
			if (renews) token = 'new';
			return renews;
		}),
		ended: vi.fn()
	};
	const seen: Request[] = [];
	const send = createTransport(credentials, async (request) => {
		seen.push(request);
		return answer(statuses.shift() ?? 200);
	});
	return { credentials, send, seen };
}

describe('transport', () => {
	afterEach(() => vi.restoreAllMocks());

	test('a refused token is renewed once and the request is sent again, body and id the same', async () => {
		const { credentials, send, seen } = check(true, [401, 200]);
		const response = await send(at('/v1/teams', { method: 'POST', body: '{"name":"a"}' }));
		expect(response.status).toBe(200);
		expect(seen.map((request) => request.headers.get('authorization'))).toEqual([
			'Bearer old',
			'Bearer new'
		]);
		expect(await seen[1]?.text()).toBe('{"name":"a"}');
		expect(seen[0]?.headers.get('x-request-id')).toBe(seen[1]?.headers.get('x-request-id'));
		expect(credentials.ended).not.toHaveBeenCalled();
	});

	test('a session that cannot be renewed has ended', async () => {
		const { credentials, send, seen } = check(false, [401]);
		expect((await send(at('/v1/teams'))).status).toBe(401);
		expect(seen).toHaveLength(1);
		expect(credentials.ended).toHaveBeenCalledOnce();
	});

	test('a second refusal after renewal ends the session, with no third try', async () => {
		const { credentials, send, seen } = check(true, [401, 401, 200]);
		expect((await send(at('/v1/teams'))).status).toBe(401);
		expect(seen).toHaveLength(2);
		expect(credentials.ended).toHaveBeenCalledOnce();
	});

	test.each(['/v1/auth/login', '/v1/me/password'])(
		'a wrong password at %s is not a lost session',
		async (path) => {
			const { credentials, send } = check(true, [401]);
			expect((await send(at(path, { method: 'POST' }))).status).toBe(401);
			expect(credentials.renew).not.toHaveBeenCalled();
			expect(credentials.ended).not.toHaveBeenCalled();
		}
	);

	test('no token stands in the address, and the dashboard names itself', async () => {
		const { send, seen } = check(true, [200]);
		await send(at('/v1/teams'));
		expect(seen[0]?.url).not.toContain('old');
		expect(seen[0]?.headers.get('x-wrenn-client')).toBe('dashboard');
	});

	test('a server that is silent is told from one that is away', async () => {
		const { credentials } = check(true, []);
		vi.spyOn(AbortSignal, 'timeout').mockReturnValue(AbortSignal.abort());
		const silent = createTransport(credentials, () => Promise.reject(new TypeError('aborted')));
		await expect(silent(at('/v1/teams'))).rejects.toMatchObject({ code: 'timeout' });
		vi.restoreAllMocks();
		const away = createTransport(credentials, () => Promise.reject(new TypeError('refused')));
		await expect(away(at('/v1/teams'))).rejects.toMatchObject({ code: 'offline' });
	});

	test('lifecycle calls may take a minute, reading may not', () => {
		expect(deadlineOf('POST', '/v1/sandboxes/sb-1/pause')).toBe(60_000);
		expect(deadlineOf('POST', '/v1/snapshots')).toBe(60_000);
		expect(deadlineOf('GET', '/v1/sandboxes')).toBe(DEADLINE_MS);
		expect(deadlineOf('POST', '/v1/teams')).toBe(DEADLINE_MS);
	});
});

describe('failureOf', () => {
	test('keeps the code, the wait and the server’s request id', () => {
		const headers = { 'retry-after': '7', 'x-request-id': 'r-1' };
		const response = new Response('', { status: 429, headers });
		const failure = failureOf(response, { error: { code: 'rate_limited', message: 'slow' } }, '');
		expect(failure).toMatchObject({ code: 'rate_limited', retryAfter: 7, requestId: 'r-1' });
	});

	test('a proxy’s own page is still a failure that reads well', () => {
		const failure = failureOf(new Response('', { status: 502 }), '<html>', 'mine');
		expect(failure).toBeInstanceOf(Failure);
		expect(failure.message).toContain('502');
		expect(failure.requestId).toBe('mine');
	});
});
