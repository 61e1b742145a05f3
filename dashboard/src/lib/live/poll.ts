// Polling, for as long as there is no event stream. Hidden tabs ask nothing; one that is shown again asks at once.

/** Something on screen is in transition. */
export const QUICK_MS = 3_000;
export const CALM_MS = 10_000;

/** Calls `read` now and then every `interval()` ms after it has settled; returns what stops it. */
export function poll(read: () => Promise<void>, interval: () => number): () => void {
	let timer: ReturnType<typeof setTimeout> | undefined;
	let stopped = false;
	let reading = false;

	async function turn() {
		clearTimeout(timer);
		if (stopped || reading || document.hidden) return;
		reading = true;
		try {
			await read();
		} finally {
			reading = false;
			if (!stopped) timer = setTimeout(() => void turn(), interval());
		}
	}

	const shown = () => void turn();
	document.addEventListener('visibilitychange', shown);
	void turn();
	return () => {
		stopped = true;
		clearTimeout(timer);
		document.removeEventListener('visibilitychange', shown);
	};
}
