// Who is signed in. The token lives in this module's memory and nowhere else; the refresh cookie, which no
// script can read, survives a reload. Tabs share one session: renewal runs under a lock, the outcome is broadcast.
import type { Credentials } from '$lib/api/transport';
import type { AuthResponse } from '$lib/api/types';

const CHANNEL = 'wrenn-session';
const LOCK = 'wrenn-session';

type News = { type: 'token'; answer: AuthResponse } | { type: 'ended' };

/** Half of a token's life, in ms; tokens of a browser session last 15 minutes. */
export function renewalDelay(token: string, now = Date.now()): number {
	try {
		const claims: unknown = JSON.parse(
			atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'))
		);
		if (typeof claims === 'object' && claims !== null && 'exp' in claims) {
			return Math.max(5_000, (Number(claims.exp) * 1000 - now) / 2);
		}
	} catch {
		// Not a token we can read: renew soon instead of never.
	}
	return 60_000;
}

export class SessionState implements Credentials {
	#token: string | undefined;
	#timer: ReturnType<typeof setTimeout> | undefined;
	#renewing: Promise<boolean> | undefined;
	#channel: BroadcastChannel | undefined;

	user = $state<Pick<AuthResponse, 'user_id' | 'name' | 'email'>>();
	teamId = $state<string>();
	/** Grows whenever what was on screen may belong to somebody else; stores key on it. */
	epoch = $state(0);

	constructor() {
		if (typeof BroadcastChannel === 'undefined') return;
		this.#channel = new BroadcastChannel(CHANNEL);
		this.#channel.onmessage = ({ data }: MessageEvent<News>) => {
			if (data.type === 'ended') this.#clear();
			else this.#adopt(data.answer);
		};
	}

	get signedIn(): boolean {
		return this.user !== undefined;
	}

	token(): string | undefined {
		return this.#token;
	}

	/** A fresh sign-in, a renewal or a change of team. */
	accept(answer: AuthResponse): void {
		this.#adopt(answer);
		this.#channel?.postMessage({ type: 'token', answer } satisfies News);
	}

	ended(): void {
		this.#clear();
		this.#channel?.postMessage({ type: 'ended' } satisfies News);
	}

	/** One renewal at a time in this tab, and by the lock in this browser: reuse of a cookie would end the session. */
	renew(stale: string | undefined): Promise<boolean> {
		if (this.#token && this.#token !== stale) return Promise.resolve(true);
		this.#renewing ??= this.#locked(stale).finally(() => (this.#renewing = undefined));
		return this.#renewing;
	}

	async #locked(stale: string | undefined): Promise<boolean> {
		const work = () => this.#ask(stale);
		return navigator.locks ? navigator.locks.request(LOCK, work) : work();
	}

	async #ask(stale: string | undefined): Promise<boolean> {
		// Another tab may have renewed while this one waited for the lock.
		if (this.#token && this.#token !== stale) return true;
		try {
			const response = await fetch('/v1/auth/refresh', {
				method: 'POST',
				headers: { 'x-wrenn-client': 'dashboard', 'x-request-id': crypto.randomUUID() },
				signal: AbortSignal.timeout(15_000)
			});
			if (!response.ok) return false;
			this.accept((await response.json()) as AuthResponse);
			return true;
		} catch {
			return false;
		}
	}

	#adopt(answer: AuthResponse): void {
		if (this.user?.user_id !== answer.user_id || this.teamId !== answer.team_id) this.epoch += 1;
		this.#token = answer.token;
		this.user = { user_id: answer.user_id, name: answer.name, email: answer.email };
		this.teamId = answer.team_id;
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => void this.renew(answer.token), renewalDelay(answer.token));
	}

	#clear(): void {
		clearTimeout(this.#timer);
		this.#token = undefined;
		this.user = undefined;
		this.teamId = undefined;
		this.epoch += 1;
	}
}

export const session = new SessionState();
