// One clock for all times on screen, so that they step together.
class Clock {
	now = $state(Date.now());

	constructor() {
		if (typeof document === 'undefined') return;
		setInterval(() => {
			if (!document.hidden) this.now = Date.now();
		}, 1_000);
	}
}

export const clock = new Clock();
