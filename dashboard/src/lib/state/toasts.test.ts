import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Failure } from '$lib/api/failure';
import { TOAST_MS, toasts } from './toasts.svelte';

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
	for (const { id } of [...toasts.items]) toasts.dismiss(id);
	vi.useRealTimers();
});

test('a success goes by itself, an error stays and keeps its request id', () => {
	toasts.success('done');
	toasts.failure(new Failure('internal_error', 'broken', 'r-9'), 'Pausing failed');
	vi.advanceTimersByTime(TOAST_MS * 10);
	expect(toasts.items).toMatchObject([
		{ kind: 'error', text: 'Pausing failed: broken', requestId: 'r-9' }
	]);
});

test('equal ones are counted and at most four are shown', () => {
	toasts.success('same');
	toasts.success('same');
	expect(toasts.items).toMatchObject([{ count: 2 }]);
	for (const text of ['a', 'b', 'c', 'd', 'e']) toasts.success(text);
	expect(toasts.items.map(({ text }) => text)).toEqual(['b', 'c', 'd', 'e']);
});

test('one that is being read waits', () => {
	toasts.success('slow reader');
	toasts.pause(toasts.items[0]?.id ?? 0);
	vi.advanceTimersByTime(TOAST_MS * 2);
	expect(toasts.items).toHaveLength(1);
});
