import { expect, test } from 'vitest';
import { ago, bytes, duration, mebibytes, plain } from './format';

test('times read as people say them', () => {
	const now = Date.parse('2026-01-02T00:00:00Z');
	expect(ago('2026-01-02T00:00:01Z', now)).toBe('now');
	expect(ago('2026-01-01T23:00:00Z', now)).toContain('1');
	expect(ago('nonsense', now)).toBe('–');
});

test('durations keep their two largest units', () => {
	expect([0, 59, 61, 3_600, 90_061].map(duration)).toEqual([
		'0 s',
		'59 s',
		'1 m 1 s',
		'1 h',
		'1 d 1 h'
	]);
});

test('sizes are binary', () => {
	expect([mebibytes(512), mebibytes(1536), bytes(10), bytes(2048)]).toEqual([
		'512 MiB',
		'1.5 GiB',
		'10 B',
		'2 KiB'
	]);
});

test('characters that turn or hide text are shown', () => {
	expect(plain('a\u202egnp\u0007.exe')).toBe('a\\u202egnp\\u0007.exe');
	expect(plain('שלום <b>')).toBe('שלום <b>');
});
