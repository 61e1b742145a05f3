import { expect, test } from 'vitest';
import type { Member, Role, Team } from '$lib/api/types';
import { held, mayManage } from './rules';

const member = (role: Role, user_id = 'usr-2'): Member => ({
	user_id,
	role,
	name: 'Ben',
	email: 'ben@example.test',
	joined_at: '2026-01-01T00:00:00Z'
});

test('nobody manages the owner or themselves, and members manage nobody', () => {
	expect(mayManage('admin', 'usr-1', member('member'))).toBe(true);
	expect(mayManage('owner', 'usr-1', member('admin'))).toBe(true);
	expect(mayManage('admin', 'usr-1', member('owner'))).toBe(false);
	expect(mayManage('admin', 'usr-1', member('admin', 'usr-1'))).toBe(false);
	expect(mayManage('member', 'usr-1', member('member'))).toBe(false);
	expect(mayManage(undefined, 'usr-1', member('member'))).toBe(false);
});

test('the last team is held, and so is any until the list is there', () => {
	const team: Team = {
		id: 't',
		name: 'T',
		slug: 's',
		is_byoc: false,
		created_at: '2026-01-01T00:00:00Z'
	};
	expect(held(undefined)).toContain('not arrived');
	expect(held([team])).toContain('only team');
	expect(held([team, team])).toBeUndefined();
});
