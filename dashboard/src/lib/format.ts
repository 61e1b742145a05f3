// How values read on screen.

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'narrow' });
const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
	['day', 86_400],
	['hour', 3_600],
	['minute', 60]
];

export function ago(time: string, now = Date.now()): string {
	const seconds = Math.round((Date.parse(time) - now) / 1000);
	if (Number.isNaN(seconds)) return '–';
	if (Math.abs(seconds) < 5) return 'now';
	for (const [unit, size] of STEPS) {
		if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
	}
	return relative.format(seconds, 'second');
}

export function exactly(time: string): string {
	const date = new Date(time);
	return Number.isNaN(date.getTime()) ? time : absolute.format(date);
}

/** Seconds as the two largest units. */
export function duration(seconds: number): string {
	const whole = Math.max(0, Math.round(seconds));
	const parts = [
		[Math.floor(whole / 86_400), 'd'],
		[Math.floor(whole / 3_600) % 24, 'h'],
		[Math.floor(whole / 60) % 60, 'm'],
		[whole % 60, 's']
	] as const;
	const first = parts.findIndex(([count]) => count > 0);
	if (first < 0) return '0 s';
	const shown = parts.slice(first, first + 2).filter(([count]) => count > 0);
	return shown.map(([count, unit]) => `${count} ${unit}`).join(' ');
}

export function mebibytes(count: number): string {
	return count < 1024 ? `${count} MiB` : `${trim(count / 1024)} GiB`;
}

export function bytes(count: number): string {
	if (count < 1024) return `${count} B`;
	if (count < 1024 ** 2) return `${trim(count / 1024)} KiB`;
	return mebibytes(Number(trim(count / 1024 ** 2)));
}

function trim(value: number): string {
	return value.toFixed(value < 10 ? 1 : 0).replace(/\.0$/, '');
}

/** Names are other people's text: bidi and control characters are shown, not obeyed. */
export function plain(text: string): string {
	return text.replace(
		/[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu,
		(char) => `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`
	);
}
