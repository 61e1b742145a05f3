import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { poll } from './poll';

function hide(hidden: boolean) {
	Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
	document.dispatchEvent(new Event('visibilitychange'));
}

describe('poll', () => {
	beforeEach(() => vi.useFakeTimers());
	afterEach(() => {
		hide(false);
		vi.useRealTimers();
	});

	test('reads at once, then after each interval, until it is stopped', async () => {
		const read = vi.fn(async () => undefined);
		const stop = poll(read, () => 3_000);
		await vi.advanceTimersByTimeAsync(6_500);
		expect(read).toHaveBeenCalledTimes(3);
		stop();
		await vi.advanceTimersByTimeAsync(60_000);
		expect(read).toHaveBeenCalledTimes(3);
	});

	test('a hidden tab asks nothing and asks at once when it is shown', async () => {
		const read = vi.fn(async () => undefined);
		const stop = poll(read, () => 3_000);
		await vi.advanceTimersByTimeAsync(0);
		hide(true);
		await vi.advanceTimersByTimeAsync(60_000);
		expect(read).toHaveBeenCalledTimes(1);
		hide(false);
		expect(read).toHaveBeenCalledTimes(2);
		stop();
	});

	test('a slow answer is waited for, never asked for twice', async () => {
		const read = vi.fn(() => new Promise<void>(() => undefined));
		const stop = poll(read, () => 1_000);
		await vi.advanceTimersByTimeAsync(10_000);
		expect(read).toHaveBeenCalledOnce();
		stop();
	});
});
