// The pages of a team, in the order of the sidebar, with the second key of their shortcut after `g`.
export const PAGES = [
	{ name: 'Capsules', path: '/dashboard/capsules/list', key: 'c' },
	{ name: 'Templates', path: '/dashboard/templates', key: 't' },
	{ name: 'API keys', path: '/dashboard/keys', key: 'k' },
	{ name: 'Team', path: '/dashboard/team', key: 'm' },
	{ name: 'Audit log', path: '/dashboard/audit', key: 'a' }
] as const;

/** Whether a page, or one below it, is the present one. */
export function isAt(path: string, present: string): boolean {
	const section = path.replace(/\/list$/, '');
	return present === section || present.startsWith(`${section}/`);
}
