import { describe, expect, test } from 'vitest';
import type { Sandbox, SandboxStatus } from '$lib/api/types';
import { Failure } from '$lib/api/failure';
import { AT_ONCE, runBulk } from './bulk';
import { asCurl, parseLabels, refusal } from './create';
import { matches, readFilters, writeFilters } from './filters';
import { allows, idleLeft, labelsOf, STATUSES } from './rules';
import { OVERSCAN, reveal, ROW_PX, slice } from './window';

function capsule(over: Partial<Sandbox> = {}): Sandbox {
	return {
		id: 'sb-1',
		team_id: 'team-1',
		status: 'running',
		template: 'minimal',
		template_id: 'tpl-1',
		vcpus: 1,
		memory_mb: 512,
		disk_size_mb: 5120,
		timeout_sec: 0,
		auto_resume: true,
		on_idle: 'pause',
		public_ports: [],
		metadata: {},
		network: { allow_internet: true, allow_out: [], deny_out: [] },
		created_at: '2026-01-01T00:00:00.000Z',
		last_updated: '2026-01-01T00:00:00.000Z',
		...over
	};
}

describe('rules', () => {
	test.each<[SandboxStatus, string]>([
		['running', 'pause ping destroy'],
		['paused', 'resume destroy'],
		['hibernated', 'resume destroy'],
		['pending', 'destroy'],
		['starting', 'destroy'],
		['missing', 'destroy'],
		['error', 'destroy'],
		['stopped', '']
	])('%s allows: %s', (status, expected) => {
		const actions = (['pause', 'resume', 'ping', 'destroy'] as const).filter((action) =>
			allows(status, action)
		);
		expect(actions.join(' ')).toBe(expected);
	});

	test('time left counts from the last activity and never below zero', () => {
		const row = capsule({ timeout_sec: 300, last_active_at: '2026-01-01T00:01:00.000Z' });
		expect(idleLeft(row, Date.parse('2026-01-01T00:02:00Z'))).toBe(240);
		expect(idleLeft(row, Date.parse('2026-01-02T00:00:00Z'))).toBe(0);
		expect(idleLeft(capsule(), 0)).toBeUndefined();
		expect(idleLeft({ ...row, status: 'paused' }, 0)).toBeUndefined();
	});

	test('reserved keys are no labels', () => {
		const row = capsule({ metadata: { kernel_version: '6', owner: 'ana' } });
		expect(labelsOf(row)).toEqual([['owner', 'ana']]);
	});
});

describe('filters', () => {
	test('survive the URL and back', () => {
		const filters = { statuses: STATUSES.slice(2, 4), template: 'a b&c', text: 'ä=1' };
		expect(readFilters(new URLSearchParams(writeFilters(filters)))).toEqual(filters);
		expect(writeFilters({ statuses: [], template: '', text: '' })).toBe('');
	});

	test('what the URL makes up is ignored', () => {
		expect(readFilters(new URLSearchParams('status=flying,paused')).statuses).toEqual(['paused']);
	});

	test('what has ended is hidden until it is asked for', () => {
		const none = { statuses: [], template: '', text: '' };
		expect(matches(capsule({ status: 'stopped' }), none)).toBe(false);
		expect(matches(capsule({ status: 'stopped' }), { ...none, statuses: ['stopped'] })).toBe(true);
	});

	test('text finds ids and labels', () => {
		const row = capsule({ metadata: { owner: 'Ana' } });
		const text = (text: string) => matches(row, { statuses: [], template: '', text });
		expect([text('SB-1'), text('owner:ana'), text('bob')]).toEqual([true, true, false]);
	});
});

describe('window', () => {
	test.each([0, 1, 999, 20_000, 39_999, 1e9])('at %i px of 1,000 rows few are drawn', (top) => {
		const part = slice(1000, top, 800);
		expect(part.end - part.start).toBeLessThanOrEqual(60);
		expect(part.start).toBeGreaterThanOrEqual(0);
		expect(part.before + part.after + (part.end - part.start) * ROW_PX).toBe(1000 * ROW_PX);
		const first = Math.min(Math.floor(top / ROW_PX), 999);
		expect(part.start).toBeLessThanOrEqual(first);
		expect(part.end).toBeGreaterThan(first);
	});

	test('a short list is drawn whole', () => {
		expect(slice(OVERSCAN, 0, 800)).toEqual({ start: 0, end: OVERSCAN, before: 0, after: 0 });
	});

	test('a row is scrolled to only when it is out of view', () => {
		expect(reveal(5, 0, 800)).toBe(0);
		expect(reveal(0, 400, 800)).toBe(0);
		expect(reveal(30, 0, 800)).toBe(31 * ROW_PX - 800);
	});
});

describe('bulk', () => {
	const ids = Array.from({ length: 30 }, (_, index) => `sb-${index}`);

	test('keeps to eight at a time and tells each failure', async () => {
		let running = 0;
		let most = 0;
		const outcome = await runBulk(
			ids,
			async (id) => {
				most = Math.max(most, ++running);
				await Promise.resolve();
				running -= 1;
				if (id === 'sb-7') throw new Failure('invalid_state', 'is paused', 'r');
			},
			new AbortController().signal,
			() => undefined
		);
		expect(most).toBe(AT_ONCE);
		expect(outcome.done).toHaveLength(29);
		expect([...outcome.failed.keys()]).toEqual(['sb-7']);
	});

	test('stop halts what has not begun and lets the rest end', async () => {
		const stop = new AbortController();
		const act = async () => stop.abort();
		const outcome = await runBulk(ids, act, stop.signal, () => undefined);
		expect(outcome.done.length + outcome.left.length).toBe(30);
		expect(outcome.left.length).toBeGreaterThanOrEqual(30 - AT_ONCE);
	});
});

describe('create', () => {
	test('labels are words with a key and a value', () => {
		expect(parseLabels(' a=1  b=x=y c ')).toEqual({ a: '1', b: 'x=y', c: '' });
	});

	test('a quote in a label cannot leave the command', () => {
		expect(asCurl({ metadata: { a: "'; reboot" } }, 'http://h')).toContain("'\\''; reboot");
	});

	test('a quota says the limit, the use and what was asked', () => {
		const details = { quota: 'max_vcpus', limit: 64, used: 60, requested: 8 };
		const text = refusal(new Failure('quota_exceeded', 'm', 'r', 429, details));
		for (const part of ['max_vcpus', '64', '60', '8']) expect(text).toContain(part);
	});
});
