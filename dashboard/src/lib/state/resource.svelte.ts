// A value that the server owns: loaded, polled while its page is visible, replaced silently.
// Data once shown stays on screen when a later read fails; the failure is told beside it.
import { asFailure, type Failure } from '$lib/api/failure';
import { session } from './session.svelte';

export class Resource<T> {
	data = $state.raw<T>();
	failure = $state.raw<Failure>();
	/** When `data` was read, ms since the epoch. */
	readAt = $state(0);
	/** Failed reads in a row; the Live badge says "Offline" from three. */
	misses = $state(0);
	#latest = 0;

	constructor(readonly read: () => Promise<T>) {}

	async refresh(): Promise<void> {
		const mine = ++this.#latest;
		const epoch = session.epoch;
		// An answer that was overtaken, or that belongs to another team, is dropped.
		const stale = () => mine !== this.#latest || epoch !== session.epoch;
		try {
			const data = await this.read();
			if (stale()) return;
			this.data = data;
			this.failure = undefined;
			this.misses = 0;
			this.readAt = Date.now();
		} catch (thrown) {
			if (stale()) return;
			this.failure = asFailure(thrown);
			this.misses += 1;
		}
	}

	/** Puts a value that an answer of the server brought. Reads under way are older and dropped. */
	put(data: T): void {
		this.#latest += 1;
		this.data = data;
	}
}
