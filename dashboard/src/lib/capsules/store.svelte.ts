// The team's capsules: one list for the page, the badge and the palette; and what is being done to each.
import { api, take } from '$lib/api/client';
import { asFailure } from '$lib/api/failure';
import type { Sandbox } from '$lib/api/types';
import { CALM_MS, QUICK_MS } from '$lib/live/poll';
import { Resource } from '$lib/state/resource.svelte';
import { type Action, inTransition, LIVE_STATUSES, STATUSES } from './rules';

const PAGE = 1000;
/** Lists longer than this are cut; the server's default quota is 50 a team. */
const MOST_PAGES = 5;

const DOING: Record<Action, string | undefined> = {
	pause: 'Pausing…',
	resume: 'Resuming…',
	ping: undefined,
	destroy: 'Destroying…'
};

async function readAll(ended: boolean): Promise<Sandbox[]> {
	const all: Sandbox[] = [];
	let cursor: string | undefined;
	for (let page = 0; page < MOST_PAGES; page += 1) {
		const query = {
			status: (ended ? STATUSES : LIVE_STATUSES).join(','),
			limit: PAGE,
			...(cursor ? { cursor } : {})
		};
		const answer = await api.GET('/v1/sandboxes', { params: { query } });
		all.push(...(await take(Promise.resolve(answer))));
		cursor = answer.response.headers.get('x-next-cursor') ?? undefined;
		if (!cursor) break;
	}
	return all;
}

class Capsules {
	/** Whether the list holds what has stopped or failed too. */
	ended = false;
	list = new Resource<Sandbox[]>(() => readAll(this.ended));
	running = $derived(this.list.data?.filter(({ status }) => status === 'running').length ?? 0);
	/** What is under way, by id, from the request in flight. */
	doing = $state<Record<string, string>>({});

	interval = (): number =>
		this.list.data?.some(({ status }) => inTransition(status)) ? QUICK_MS : CALM_MS;

	reset(): void {
		this.ended = false;
		this.list.data = undefined;
		this.doing = {};
	}

	/** Puts a row as the server has it now. */
	patch(capsule: Sandbox): void {
		const rows = this.list.data ?? [];
		const at = rows.findIndex(({ id }) => id === capsule.id);
		this.list.put(at < 0 ? [capsule, ...rows] : rows.with(at, capsule));
	}

	/** Does one thing to one capsule; the row settles on the server's answer. */
	async act(id: string, action: Action): Promise<void> {
		const doing = DOING[action];
		if (doing) this.doing[id] = doing;
		const path = { params: { path: { id } } };
		try {
			if (action === 'pause') this.patch(await take(api.POST('/v1/sandboxes/{id}/pause', path)));
			if (action === 'resume') this.patch(await take(api.POST('/v1/sandboxes/{id}/resume', path)));
			if (action === 'ping') await take(api.POST('/v1/sandboxes/{id}/ping', path));
			if (action === 'destroy') {
				await take(api.DELETE('/v1/sandboxes/{id}', path));
				const row = this.list.data?.find((known) => known.id === id);
				if (row) this.patch({ ...row, status: 'stopped', reason: 'user' });
			}
		} catch (thrown) {
			if (asFailure(thrown).code === 'invalid_state') await this.reread(id);
			throw thrown;
		} finally {
			// eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- the map is keyed by id
			delete this.doing[id];
		}
	}

	/** The state was another than the one on screen: show what it is now. */
	async reread(id: string): Promise<void> {
		try {
			this.patch(await take(api.GET('/v1/sandboxes/{id}', { params: { path: { id } } })));
		} catch {
			// The failure that led here is the one to tell.
		}
	}
}

export const capsules = new Capsules();
