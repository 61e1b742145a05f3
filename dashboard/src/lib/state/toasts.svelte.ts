// Short messages at the corner. Errors stay until they are dismissed; equal ones are counted.
import { asFailure } from '$lib/api/failure';

export interface Toast {
	id: number;
	kind: 'success' | 'error';
	text: string;
	requestId?: string;
	count: number;
}

const MOST = 4;
export const TOAST_MS = 5_000;

class Toasts {
	items = $state<Toast[]>([]);
	#next = 1;
	#timers = new Map<number, ReturnType<typeof setTimeout>>();

	#add(kind: Toast['kind'], text: string, requestId?: string): void {
		const same = this.items.find((toast) => toast.kind === kind && toast.text === text);
		if (same) {
			same.count += 1;
			if (requestId) same.requestId = requestId;
			this.resume(same.id);
			return;
		}
		const id = this.#next++;
		const extra = requestId ? { requestId } : {};
		for (const old of this.items.slice(0, -(MOST - 1))) this.dismiss(old.id);
		this.items.push({ id, kind, text, count: 1, ...extra });
		this.resume(id);
	}

	success(text: string): void {
		this.#add('success', text);
	}

	/** `attempted` says what did not happen: “Pausing sb-… failed”. */
	failure(thrown: unknown, attempted: string): void {
		const failure = asFailure(thrown);
		this.#add('error', `${attempted}: ${failure.message}`, failure.requestId);
	}

	dismiss(id: number): void {
		this.pause(id);
		this.items = this.items.filter((toast) => toast.id !== id);
	}

	pause(id: number): void {
		clearTimeout(this.#timers.get(id));
		this.#timers.delete(id);
	}

	resume(id: number): void {
		this.pause(id);
		if (this.items.find((toast) => toast.id === id)?.kind !== 'success') return;
		this.#timers.set(
			id,
			setTimeout(() => this.dismiss(id), TOAST_MS)
		);
	}
}

export const toasts = new Toasts();
