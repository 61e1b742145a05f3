// The one way to the server: deadline, request id, Bearer token, and one retry after a renewed session.
import { Failure } from './failure';

/** What the transport needs to know of the session; it owns none itself. */
export interface Credentials {
	token(): string | undefined;
	/** Renews the session. `stale` is the token that was refused; resolves to whether there is a new one. */
	renew(stale: string | undefined): Promise<boolean>;
	ended(): void;
}

export const DEADLINE_MS = 15_000;
/** Pausing and snapshots may take the server 55 s. */
export const LIFECYCLE_DEADLINE_MS = 60_000;

const LIFECYCLE = /\/(sandboxes|snapshots)(\/|$)/;
/** A 401 of these is about what was typed, not about the session. */
const SIGNING_IN =
	/^\/v1\/(auth\/(login|signup|setup|activate|refresh|logout$|oauth)|me\/password)/;

export function deadlineOf(method: string, path: string): number {
	return method !== 'GET' && LIFECYCLE.test(path) ? LIFECYCLE_DEADLINE_MS : DEADLINE_MS;
}

type Fetch = (request: Request) => Promise<Response>;

export function createTransport(credentials: Credentials, send: Fetch): Fetch {
	async function attempt(request: Request, id: string): Promise<Response> {
		const headers = new Headers(request.headers);
		headers.set('x-request-id', id);
		headers.set('x-wrenn-client', 'dashboard');
		const token = credentials.token();
		if (token) headers.set('authorization', `Bearer ${token}`);
		const path = new URL(request.url).pathname;
		const deadline = AbortSignal.timeout(deadlineOf(request.method, path));
		const signal = AbortSignal.any([request.signal, deadline]);
		try {
			return await send(new Request(request.clone(), { headers, signal }));
		} catch (thrown) {
			if (request.signal.aborted) throw thrown;
			if (deadline.aborted) throw new Failure('timeout', 'The server did not answer in time.', id);
			throw new Failure('offline', 'The server cannot be reached.', id);
		}
	}

	return async (request) => {
		const id = crypto.randomUUID();
		const used = credentials.token();
		const response = await attempt(request, id);
		if (response.status !== 401 || SIGNING_IN.test(new URL(request.url).pathname)) return response;
		if (await credentials.renew(used)) {
			const again = await attempt(request, id);
			if (again.status !== 401) return again;
		}
		credentials.ended();
		return response;
	};
}
