// One action on many capsules: eight requests at a time, each row's outcome kept, "Stop" halts what has not begun.
import { asFailure, type Failure } from '$lib/api/failure';

export const AT_ONCE = 8;

export interface BulkOutcome {
	done: string[];
	failed: Map<string, Failure>;
	/** Not begun when it was stopped. */
	left: string[];
}

export async function runBulk(
	ids: readonly string[],
	act: (id: string) => Promise<unknown>,
	stop: AbortSignal,
	progress: (settled: number) => void
): Promise<BulkOutcome> {
	const waiting = [...ids];
	const outcome: BulkOutcome = { done: [], failed: new Map(), left: [] };
	async function worker() {
		for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
			if (stop.aborted) {
				outcome.left.push(id);
				continue;
			}
			try {
				await act(id);
				outcome.done.push(id);
			} catch (thrown) {
				outcome.failed.set(id, asFailure(thrown));
			}
			progress(outcome.done.length + outcome.failed.size);
		}
	}
	await Promise.all(Array.from({ length: AT_ONCE }, worker));
	return outcome;
}
