// The list's filters, and their place in the URL: a link to a list is the list.
import type { Sandbox, SandboxStatus } from '$lib/api/types';
import { labelsOf, LIVE_STATUSES, STATUSES } from './rules';

export interface Filters {
	/** Empty: whatever has not ended. */
	statuses: SandboxStatus[];
	template: string;
	text: string;
}

export function readFilters(query: URLSearchParams): Filters {
	const wanted = (query.get('status') ?? '').split(',');
	return {
		statuses: STATUSES.filter((status) => wanted.includes(status)),
		template: query.get('template') ?? '',
		text: query.get('q') ?? ''
	};
}

export function writeFilters(filters: Filters): string {
	const query = new URLSearchParams();
	if (filters.statuses.length) query.set('status', filters.statuses.join(','));
	if (filters.template) query.set('template', filters.template);
	if (filters.text) query.set('q', filters.text);
	const text = query.toString();
	return text ? `?${text}` : '';
}

export function isFiltered(filters: Filters): boolean {
	return writeFilters(filters) !== '';
}

export function matches(capsule: Sandbox, filters: Filters): boolean {
	const statuses = filters.statuses.length ? filters.statuses : LIVE_STATUSES;
	if (!statuses.includes(capsule.status)) return false;
	if (filters.template && capsule.template !== filters.template) return false;
	const text = filters.text.trim().toLowerCase();
	if (!text) return true;
	return [capsule.id, ...labelsOf(capsule).map(([key, value]) => `${key}:${value}`)].some((known) =>
		known.toLowerCase().includes(text)
	);
}

export function countByStatus(capsules: Sandbox[]): Map<SandboxStatus, number> {
	const counts = new Map<SandboxStatus, number>();
	for (const { status } of capsules) counts.set(status, (counts.get(status) ?? 0) + 1);
	return counts;
}
